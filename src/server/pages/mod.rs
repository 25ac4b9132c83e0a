//! Pages for people: the start page, the operations to try and to read, the errors, and the page for unknown paths.
//!
//! A page loads nothing from other servers and runs only its own scripts, as its content security policy says.

pub mod document;
mod errors;
mod first;

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use poem::{
    Request, Response, Route,
    error::NotFoundError,
    get, handler,
    http::{HeaderValue, StatusCode, header},
    web::Path,
};
use sha2::{Digest as _, Sha256};
use tracing::field;

use self::document::Forms;
use super::compression::StaticPage;
use crate::http::{body::JSON, codes};

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = include_str!("style.css");
const ICON: &[u8] = include_bytes!("favicon.ico");

/// For how many seconds a browser may cache the style sheet and the icon.
const REMEMBERED: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// The base policy: a page may do nothing, not even be shown inside another page, where its visitors could be tricked
/// into clicking on what they do not see.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The pages that all others link to: the path, and the text of the link.
const BAR: [(&str, &str); 4] = [
    ("/reference", "Reference"),
    ("/docs", "Try it"),
    ("/docs/errors", "Errors"),
    ("/openapi.yaml", "OpenAPI"),
];

/// Everything that is served besides the operations. A trailing slash makes no difference here.
#[must_use]
pub fn routes() -> Route {
    Route::new()
        .at("/favicon.ico", get(icon))
        .at("/openapi.json", get(openapi_json))
        .at("/openapi.yaml", get(openapi_yaml))
        .at("/docs", get(docs))
        .at("/docs/", get(docs))
        .at("/docs/style.css", get(style_sheet))
        .at("/docs/errors", get(error_codes))
        .at("/docs/errors/", get(error_codes))
        .at("/docs/errors/:code", get(error_code))
        .at("/reference", get(reference))
        .at("/reference/", get(reference))
}

/// The start page.
#[handler]
pub fn home() -> Response {
    html(StatusCode::OK, first::page())
}

/// The page for unknown paths.
#[must_use]
pub fn not_found() -> Response {
    tracing::Span::current().record("code", field::display(&codes::NOT_FOUND));
    let content = "<h1>Not found</h1><p>There is no page at this address. These are here:</p>";
    html(
        StatusCode::NOT_FOUND,
        page("Not found", &format!("{content}{}", first::LINKS)),
    )
}

#[handler]
fn icon() -> Response {
    Response::builder()
        .content_type("image/x-icon")
        .header(header::CACHE_CONTROL, REMEMBERED)
        .body(ICON)
}

#[handler]
fn style_sheet() -> Response {
    Response::builder()
        .content_type("text/css; charset=utf-8")
        .header(header::CACHE_CONTROL, REMEMBERED)
        .body(STYLE)
}

#[handler]
fn openapi_json(request: &Request) -> Response {
    Forms::get().json.answer(request, JSON)
}

#[handler]
fn openapi_yaml(request: &Request) -> Response {
    // RFC 9512 §2.1
    Forms::get().yaml.answer(request, "application/yaml")
}

#[handler]
fn docs(request: &Request) -> Response {
    Forms::get().swagger_ui.answer(request)
}

#[handler]
fn reference(request: &Request) -> Response {
    Forms::get().redoc.answer(request)
}

#[handler]
fn error_codes() -> Response {
    html(StatusCode::OK, errors::list())
}

#[handler]
fn error_code(Path(code): Path<String>) -> Result<Response, NotFoundError> {
    let page = errors::of_code(&code).ok_or(NotFoundError)?;
    Ok(html(StatusCode::OK, page))
}

fn html(status: StatusCode, page: String) -> Response {
    let policy = format!("{NOTHING}; style-src 'self'; img-src 'self'");
    let mut response = Response::builder().status(status).content_type(HTML).body(page);
    protect(&mut response, HeaderValue::try_from(policy).ok());
    response
}

/// Tells the browser what a page may do, and not to send the address of the page to other sites.
fn protect(response: &mut Response, policy: Option<HeaderValue>) {
    let policy = policy.unwrap_or(HeaderValue::from_static(NOTHING));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// A page with the bar at its top. Title and content are HTML.
#[must_use]
pub fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head>{}</head><body>{}<main>{content}</main></body></html>",
        head(title),
        bar("")
    )
}

/// The head of every page.
fn head(title: &str) -> String {
    format!(
        "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} - aka</title><link rel=\"icon\" href=\"/favicon.ico\">\
         <link rel=\"stylesheet\" href=\"/docs/style.css\">"
    )
}

/// The bar at the top of every page, which highlights the current page.
fn bar(current: &str) -> String {
    let mut links = String::new();
    for (path, text) in BAR {
        let here = if path == current { " aria-current=\"page\"" } else { "" };
        // Writing to a text does not fail.
        let _ = write!(links, "<a href=\"{path}\"{here}>{text}</a>");
    }
    format!(
        "<nav class=\"bar\"><a href=\"/\"><img src=\"/favicon.ico\" alt=\"\" width=\"20\" height=\"20\">aka</a>{links}</nav>"
    )
}

/// A page that runs its own scripts: Swagger UI or Redoc.
pub struct Tool {
    page: StaticPage,
    policy: Option<HeaderValue>,
}

impl Tool {
    /// Builds the page. The scripts run one after the other, after the content is there.
    #[must_use]
    pub fn new(path: &str, title: &str, style: &str, content: &str, scripts: [&str; 2]) -> Self {
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head>{}<style>{style}</style></head><body class=\"tool\">{}{content}",
            head(title),
            bar(path)
        );
        let mut hashes = String::new();
        for script in scripts {
            let _ = write!(page, "<script>{script}</script>");
            let _ = write!(hashes, " '{}'", hash(script));
        }
        page.push_str("</body></html>");
        // Redoc creates styles at run time, and searches in a worker that it creates from a part of its script.
        let policy = format!(
            "{NOTHING}; script-src{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src data:; \
             connect-src 'self'; worker-src blob:"
        );
        Self {
            page: page.into(),
            policy: HeaderValue::try_from(policy).ok(),
        }
    }

    /// The response to a request.
    #[must_use]
    pub fn answer(&'static self, request: &Request) -> Response {
        let mut response = self.page.answer(request, HTML);
        protect(&mut response, self.policy.clone());
        response
    }
}

/// The hash of a script for a content security policy (CSP Level 3 §2.3.1).
fn hash(script: &str) -> String {
    format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(script)))
}
