//! The border manifest: every op and every JavaScript module of a realm, in one list.
//!
//! The build script includes this file too: it makes the snapshot from the same list that
//! the realms are started with.
//!
//! Invariant: the extensions, their order and their ops are the same in both; only the sources are
//! left out at run time, because the snapshot holds them.

use std::borrow::Cow;
use std::sync::Arc;

use deno_core::{Extension, ExtensionFileSource, OpDecl, extension};
use deno_web::InMemoryBroadcastChannel;
use kittiwake_ops::*;

extension!(
    // deno_fetch asks for deno_net's TLS keys, which no worker can have.
    kittiwake_stubs,
    lazy_loaded_js = [
        dir "js",
        "ext:deno_net/02_tls.js" = { source = "(() => ({ loadTlsKeyPair() {} }))()" },
        // What deno_core gives to each script that it loads, for js/lazy.js.
        "ext:kittiwake/captured.js" = { source = "(() => __bootstrap)()" },
    ],
);

extension!(
    kittiwake,
    deps = [deno_webidl, deno_web],
    ops = [
        op_background_fetch_abort,
        op_background_fetch_begin,
        op_background_fetch_get,
        op_background_fetch_ids,
        op_background_fetch_match,
        op_background_fetch_response,
        op_background_fetch_update_ui,
        op_background_fetch_watch,
        op_badge_set,
        op_blob_part,
        op_broadcast_admit,
        op_bucket_delete,
        op_bucket_expire,
        op_bucket_names,
        op_bucket_open,
        op_bucket_persist,
        op_bucket_state,
        op_cache_body,
        op_cache_body_pipe,
        op_cache_body_write,
        op_cache_delete,
        op_cache_delete_entries,
        op_cache_has,
        op_cache_match,
        op_cache_match_all,
        op_cache_match_any,
        op_cache_names,
        op_cache_open,
        op_cache_put,
        op_cache_requests,
        op_client_focus,
        op_client_messages_start,
        op_client_navigate,
        op_clients_claim,
        op_clients_match,
        op_clone_is_forged,
        op_clock_elapsed,
        op_clock_now,
        op_clock_origin,
        op_console_write,
        op_content_add,
        op_content_all,
        op_content_delete,
        op_cookie_list,
        op_cookie_set,
        op_cookie_subscribe,
        op_cookie_subscriptions,
        op_cookie_unsubscribe,
        op_entropy_random,
        op_event_settled,
        op_exception_report,
        op_fetch_event_body,
        op_fetch_event_preload,
        op_fetch_event_respond,
        op_fetch_event_unanswered,
        op_history_entry,
        op_history_go,
        op_history_update,
        op_fetch_body_read_all,
        op_http_fetch,
        op_indexed_db_acknowledge,
        op_indexed_db_begin,
        op_indexed_db_change,
        op_indexed_db_close,
        op_indexed_db_delete,
        op_indexed_db_end,
        op_indexed_db_has_blobs,
        op_indexed_db_index,
        op_indexed_db_list,
        op_indexed_db_open,
        op_indexed_db_put,
        op_indexed_db_put_bytes,
        op_indexed_db_query,
        op_location_navigate,
        op_location_reload,
        op_indexed_db_serve,
        op_keys_mark,
        op_lazy_answer,
        op_lazy_define,
        op_lazy_load,
        op_lock_abort,
        op_lock_broken,
        op_lock_granted,
        op_lock_query,
        op_lock_release,
        op_lock_request,
        op_mappings_have_room,
        op_mappings_have_room_for_clone,
        op_message_post,
        op_network_information,
        op_network_online,
        op_notification_close,
        op_notification_list,
        op_notification_show,
        op_periodic_register,
        op_periodic_tags,
        op_periodic_unregister,
        op_permission_query,
        op_preload_set,
        op_preload_state,
        op_port_close,
        op_port_create,
        op_port_post,
        op_port_start,
        op_push_subscribe,
        op_push_subscription,
        op_push_unsubscribe,
        op_socket_close,
        op_socket_connect,
        op_socket_next,
        op_socket_send,
        op_storage_estimate,
        op_sync_register,
        op_sync_tags,
        op_wasm_memories,
        op_window_open,
        op_test_ask,
        op_test_call,
        op_timer_refused,
        op_worker_add_routes,
        op_worker_controller,
        op_worker_fetch_listeners,
        op_worker_import,
        op_worker_register,
        op_worker_registrations,
        op_worker_skip_waiting,
        op_worker_unregister,
        op_worker_update,
    ],
    esm_entry_point = "ext:kittiwake/bootstrap.js",
    esm = [
        dir "js",
        "array_buffer.js",
        "background_sync.js",
        "bootstrap.js",
        "cache.js",
        "clients.js",
        "console.js",
        "events.js",
        "crypto.js",
        "extendable_event.js",
        "fetch/blob.js",
        "fetch/body.js",
        "fetch/fetch.js",
        "fetch/header_values.js",
        "fetch/headers.js",
        "fetch/host_body.js",
        "fetch/request.js",
        "fetch/response.js",
        "fetch/safelist.js",
        "fetch/stream_methods.js",
        "history.js",
        "import_scripts.js",
        "indexed_db/string_list.js",
        "interfaces.js",
        "lazy.js",
        "lazy_imports.js",
        "fetch_event.js",
        "functional_events.js",
        "location.js",
        "message_port.js",
        "navigator.js",
        "originals.js",
        "platform_object.js",
        "service_worker.js",
        "simulation.js",
        "structured_storage.js",
        "structured_transfer.js",
        "sync_writes.js",
        "test/door.js",
        "timers.js",
        "webassembly.js",
        "webidl.js",
    ],
    lazy_loaded_esm = [
        dir "js",
        "background_fetch.js",
        "broadcast_channel.js",
        "content_index.js",
        "cookie_store.js",
        "event_source.js",
        "image_resource.js",
        "indexed_db/answer.js",
        "indexed_db/cursor.js",
        "indexed_db/database.js",
        "indexed_db/delivery.js",
        "indexed_db/dispatch.js",
        "indexed_db/factory.js",
        "indexed_db/index.js",
        "indexed_db/interfaces.js",
        "indexed_db/key_path.js",
        "indexed_db/key_range.js",
        "indexed_db/keys.js",
        "indexed_db/object_store.js",
        "indexed_db/put.js",
        "indexed_db/request.js",
        "indexed_db/retrieval.js",
        "indexed_db/transaction.js",
        "indexed_db/values.js",
        "locks.js",
        "navigation_preload.js",
        "network_information.js",
        "notifications.js",
        "periodic_sync.js",
        "permissions.js",
        "push.js",
        "scheduler.js",
        "static_routing.js",
        "storage_buckets.js",
        "storage_manager.js",
        "transferable_streams.js",
        "user_agent_data.js",
        "web_socket.js",
    ],
    middleware = replace_engine_ops,
);

/// What the engine would take from the machine comes through the doors instead.
fn replace_engine_ops(op: OpDecl) -> OpDecl {
    match op.name {
        "op_blob_create_part" => op.with_implementation_from(&op_blob_part()),
        "op_dispatch_exception" => op.with_implementation_from(&op_exception_report()),
        "op_now" => op.with_implementation_from(&op_clock_elapsed()),
        "op_time_origin" => op.with_implementation_from(&op_clock_origin()),
        _ => op,
    }
}

/// What realms of one origin share.
#[derive(Clone, Default)]
pub(crate) struct OriginShare {
    pub(crate) blobs: Arc<Blobs>,
    pub(crate) broadcast: InMemoryBroadcastChannel,
}

/// What deno's crates have that a realm loads only when it needs it, as it does our own modules in
/// `lazy_loaded_esm`. Not `deno_crypto`: a message may bring a key to a realm that has used none.
const LAZY_SCRIPTS: [&str; 7] = [
    "ext:deno_fetch/21_formdata.js",
    "ext:deno_web/01_urlpattern.js",
    "ext:deno_web/02_structured_clone.js",
    "ext:deno_web/06_streams.js",
    "ext:deno_web/10_filereader.js",
    "ext:deno_web/14_compression.js",
    "ext:deno_web/15_performance.js",
];

/// What deno's crates define in each realm, and nobody reaches: their DOM, and ops of files that we
/// do not load.
const UNREACHABLE_OBJECTS: [&str; 10] = [
    "CSSRule",
    "CSSStyleSheet",
    "DOMMatrix",
    "DOMMatrixReadOnly",
    "DOMPoint",
    "DOMPointReadOnly",
    "DOMQuad",
    "DOMRect",
    "DOMRectReadOnly",
    "ImageData",
];
const UNREACHABLE_OPS: [&str; 18] = [
    "op_base64_decode_into",
    "op_base64url_decode",
    "op_base64url_decode_into",
    "op_base64url_encode_from_buffer",
    "op_fetch",
    "op_fetch_custom_client",
    "op_fetch_promise_is_settled",
    "op_fetch_send",
    "op_geometry_get_enable_css_parser_features",
    "op_geometry_matrix_set_matrix_value",
    "op_geometry_matrix_to_string",
    "op_lock_manager_await_lock",
    "op_lock_manager_await_steal",
    "op_lock_manager_cancel",
    "op_lock_manager_is_stolen",
    "op_lock_manager_query",
    "op_lock_manager_release",
    "op_lock_manager_request",
];

/// Every extension of a realm, with the sources that the snapshot is made of.
#[allow(dead_code, reason = "for the build script, which includes this file")]
pub(crate) fn extensions_with_sources(share: OriginShare, seed: Option<u64>) -> Vec<Extension> {
    let mut extensions = all_extensions(share, seed);
    for extension in &mut extensions {
        extension.lazy_loaded_js_files.to_mut().retain(|file| !is_lazy(file));
        extension.lazy_loaded_esm_files = Cow::Borrowed(&[]);
    }
    extensions
}

/// The sources that are not in the snapshot.
#[allow(dead_code, reason = "for the build script, which includes this file")]
pub(crate) fn lazy_files() -> (Vec<ExtensionFileSource>, Vec<ExtensionFileSource>) {
    let extensions = all_extensions(Default::default(), None);
    let scripts = extensions.iter().flat_map(|extension| &*extension.lazy_loaded_js_files);
    let scripts = scripts.filter(|file| is_lazy(file)).cloned().collect();
    let [.., ours] = &extensions[..] else { unreachable!("there is one of ours") };
    (scripts, ours.lazy_loaded_esm_files.to_vec())
}

fn is_lazy(file: &ExtensionFileSource) -> bool {
    LAZY_SCRIPTS.contains(&file.specifier)
}

fn all_extensions(share: OriginShare, seed: Option<u64>) -> Vec<Extension> {
    let mut ours = kittiwake::init();
    ours.external_references = Cow::Owned(vec![lazy_reference()]);
    let mut extensions = vec![
        deno_webidl::deno_webidl::init(),
        deno_web::deno_web::init(share.blobs, None, false, share.broadcast),
        kittiwake_stubs::init(),
        deno_fetch::deno_fetch::init(Default::default()),
        deno_crypto::deno_crypto::init(seed),
        ours,
    ];
    for extension in &mut extensions {
        extension.objects.to_mut().retain(|it| !UNREACHABLE_OBJECTS.contains(&it.name.0));
        extension.ops.to_mut().retain(|it| !UNREACHABLE_OPS.contains(&it.name));
    }
    extensions
}

/// Every extension of a realm that starts from the snapshot, which holds the sources.
#[allow(dead_code, reason = "the build script includes this file and needs the sources")]
pub(crate) fn extensions(share: OriginShare, seed: Option<u64>) -> Vec<Extension> {
    let mut extensions = all_extensions(share, seed);
    for extension in &mut extensions {
        extension.js_files = Cow::Borrowed(&[]);
        extension.esm_files = Cow::Borrowed(&[]);
        extension.esm_entry_point = None;
        extension.lazy_loaded_js_files = Cow::Borrowed(&[]);
        extension.lazy_loaded_esm_files = Cow::Borrowed(&[]);
    }
    extensions
}
