// Sends each message back to the page that sent it.

addEventListener("message", ({ data, source }) => source.postMessage(data));
