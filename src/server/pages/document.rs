//! The document as it is served: as JSON, as YAML, and in two pages for people, one to try the operations and one to
//! read.

use std::sync::LazyLock;

use super::Tool;
use crate::{resources, server::compression::StaticPage};

/// The forms of the document, made once.
pub struct Forms {
    /// As JSON.
    pub json: StaticPage,
    /// As YAML.
    pub yaml: StaticPage,
    /// The page to try the operations. It loads nothing from other servers.
    pub swagger_ui: Tool,
    /// The page to read. It loads nothing from other servers.
    pub redoc: Tool,
}

impl Forms {
    /// All forms. The first call creates them, which takes some milliseconds.
    #[must_use]
    pub fn get() -> &'static Self {
        static FORMS: LazyLock<Forms> = LazyLock::new(Forms::new);
        &FORMS
    }

    fn new() -> Self {
        let (service, document) = (resources::service(), resources::document());
        let json = document.to_json();
        Self {
            yaml: document.to_yaml().into(),
            swagger_ui: swagger_ui(&service.swagger_ui_html(), &json),
            redoc: redoc(&service.redoc_html(), &json),
            json: json.into(),
        }
    }
}

/// The page of Swagger UI: its style and script, taken from a page that contains them.
fn swagger_ui(page: &str, document: &str) -> Tool {
    let begin = format!(
        "SwaggerUIBundle({{ dom_id: '#ui', spec: {}, deepLinking: true }})",
        in_script(document)
    );
    let (style, script) = (element(page, "style"), element(page, "script"));
    Tool::new("/docs", "Try the API", style, "<div id=\"ui\"></div>", [script, &begin])
}

/// The page of Redoc: its script, taken from a page that contains it, without the logo of its maker, which it would
/// load.
fn redoc(page: &str, document: &str) -> Tool {
    const LOGO: &str = "https://cdn.redoc.ly/redoc/logo-mini.svg";
    let begin = format!(
        "Redoc.init({}, {{}}, document.getElementById('redoc'))",
        in_script(document)
    );
    let script = element(page, "script").replace(LOGO, "data:,");
    Tool::new(
        "/reference",
        "API reference",
        "",
        "<div id=\"redoc\"></div>",
        [&script, &begin],
    )
}

/// The content of the first element with this name.
fn element<'a>(page: &'a str, name: &str) -> &'a str {
    let content = page
        .split_once(&format!("<{name}"))
        .and_then(|(_, rest)| rest.split_once('>'))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    content.map_or("", |(content, _)| content)
}

/// A document for use in a script within a page: nothing in it ends the script.
fn in_script(document: &str) -> String {
    document.replace("</", "<\\/").replace("<!--", "<\\!--")
}
