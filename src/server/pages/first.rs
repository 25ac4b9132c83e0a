//! The start page: what aka is, and links to everything else.

use std::sync::LazyLock;

/// The links.
pub const LINKS: &str = "\
<dl>\
<dt><a href=\"/reference\">Reference</a></dt><dd>Every operation, with its parameters, answers and errors, to read.</dd>\
<dt><a href=\"/docs\">Try it</a></dt><dd>The same operations in a form that sends requests to this server.</dd>\
<dt><a href=\"/docs/errors\">Errors</a></dt><dd>Each error code: what it means, why it happens, and what to do.</dd>\
<dt>OpenAPI document</dt><dd><a href=\"/openapi.yaml\">openapi.yaml</a> or <a href=\"/openapi.json\">openapi.json</a>, for \
generating a client.</dd>\
<dt>Health</dt><dd><a href=\"/healthz\">healthz</a>: does the server work? <a href=\"/readyz\">readyz</a>: should it get \
requests?</dd>\
</dl>";

/// The page.
pub fn page() -> String {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        super::page(
            "API server",
            &format!(
                "<h1>aka</h1>\
                 <p>aka knows which external accounts belong to which user: that Slack <code>U024</code> and GitHub \
                 <code>583231</code> are one person, who linked them, and which rule allowed it.</p>\
                 <p class=\"faint\">This is the API server, version {}. It is used by programs; there is nothing to sign \
                 in to here.</p>\
                 <h2>Where to go</h2>{LINKS}\
                 <h2>A first request</h2>\
                 <pre><code>curl https://aka.example.com/v1/users \\\n  -H 'X-API-Key: aka_...' \\\n  -H 'X-Tenant-ID: ...'</code></pre>\
                 <p>The server's operator creates the first key with <code>aka key create</code>, which prints a \
                 command like this one with everything filled in.</p>",
                env!("CARGO_PKG_VERSION")
            ),
        )
    });
    PAGE.clone()
}
