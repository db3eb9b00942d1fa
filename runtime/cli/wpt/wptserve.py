"""Starts the checkout's own wptserve for Kittiwake's runner of web-platform-tests.

Arguments: a JSON object with `roots`, `tools` and `config`. Prints the ports of its servers as JSON
once they listen. Two speak plain HTTP on the loopback interface, and one of them believes that it is
`https`, so that handlers build the URLs that tests expect. The third, `ws`, speaks WebSocket by the
checkout's own handlers, if the checkout has any and the server for them. Ends when its standard
input does.
"""

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading


def overlay(roots, target):
    """Symbolic links to what is in the roots; the first root that has a file wins."""
    names = {}
    for root in roots:
        for name in os.listdir(root):
            names.setdefault(name, []).append(os.path.join(root, name))
    for name, paths in names.items():
        folders = [path for path in paths if os.path.isdir(path)]
        place = os.path.join(target, name)
        if os.path.isdir(paths[0]) and len(folders) > 1:
            os.mkdir(place)
            overlay(folders, place)
        else:
            os.symlink(os.path.abspath(paths[0]), place)


def fixed_ports(config_class):
    """A configuration with the ports as they are told: without TLS, wptserve would drop `https`."""

    class FixedPorts(config_class):
        def _get_ports(self, data):
            return data["ports"]

    return FixedPorts


def start(config_class, server_class, scheme, routes, doc_root, settings):
    config = config_class(
        logging.getLogger("wptserve"),
        subdomains=set(settings["subdomains"]),
        not_subdomains=set(settings["not_subdomains"]),
        browser_host=settings["browser_host"],
        alternate_hosts=settings["alternate_hosts"],
        doc_root=doc_root,
        server_host="127.0.0.1",
        ports=settings["ports"],
        check_subdomains=False,
        bind_address=True,
        ssl={"type": "none", "encrypt_after_connect": False, "none": {}},
    ).__enter__()
    server = server_class(
        host="127.0.0.1", port=0, doc_root=doc_root, routes=routes, config=config, use_ssl=False
    )
    server.httpd.scheme = scheme
    # Python's own `start` announces itself on standard output.
    threading.Thread(target=server.httpd.serve_forever, daemon=True).start()
    return server.httpd.socket.getsockname()[1]


def start_websockets(doc_root):
    """Starts the checkout's pywebsocket; nothing without it or without handlers."""
    handlers = os.path.join(doc_root, "websockets", "handlers")
    try:
        from mod_pywebsocket import standalone
    except ImportError:
        return None
    if not os.path.isdir(handlers):
        return None
    # Newer handlers know the package by its newer name; classes of both are to be the same.
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "mod_pywebsocket":
            sys.modules[name.replace("mod_pywebsocket", "pywebsocket3", 1)] = module
    arguments = ["-H", "127.0.0.1", "-p", "0", "-d", doc_root, "-w", handlers]
    options, _ = standalone._parse_args_and_config(arguments)
    options.allow_handlers_outside_root_dir = True  # an overlay has links to them
    options.cgi_directories = []
    options.is_executable_method = None
    server = standalone.WebSocketServer(options)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server._sockets[0][0].getsockname()[1]


def main():
    arguments = json.loads(sys.argv[1])
    sys.path.insert(0, arguments["tools"])
    import localpaths  # noqa: F401, it makes the rest importable
    from wptserve import config, handlers, server, stash

    # Handlers that fail on purpose would fill the log.
    logging.disable(logging.CRITICAL)
    # Whoever ends the runner by a signal to its group ends this, too; the overlay is to go then.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    temporary = None
    doc_root = os.path.abspath(arguments["roots"][0])
    if len(arguments["roots"]) > 1:
        doc_root = temporary = tempfile.mkdtemp(prefix="kittiwake-wpt-")
        overlay(arguments["roots"], temporary)
    sys.path.insert(0, doc_root)
    try:
        routes = [
            ("*", "*.py", handlers.python_script_handler),
            ("GET", "*.asis", handlers.as_is_handler),
            ("*", "*", handlers.file_handler),
        ]
        with stash.StashServer():
            ports = {
                scheme: start(
                    fixed_ports(config.ConfigBuilder),
                    server.WebTestHttpd,
                    scheme,
                    routes,
                    doc_root,
                    arguments["config"],
                )
                for scheme in ("http", "https")
            }
            ports["ws"] = start_websockets(doc_root)
            print(json.dumps(ports), flush=True)
            sys.stdin.read()
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
