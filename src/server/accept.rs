//! What a client accepts: lists of names with weights, as in `Accept` and `Accept-Encoding` (RFC 9110 §12.4.2).

use poem::http::{HeaderMap, HeaderName, header::ACCEPT};

/// The names in all headers of a kind, in lower case, each with its weight. The default weight is 1, also if the
/// weight is not a number.
pub fn weights(headers: &HeaderMap, kind: HeaderName) -> impl Iterator<Item = (String, f32)> {
    let values = headers.get_all(kind).iter();
    let names = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    names.map(|name| {
        let mut parts = name.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
        (name, weight.unwrap_or(1.0))
    })
}

/// Whether a client prefers a page to JSON: it accepts HTML, and does not accept JSON or gives it a lower weight.
/// Browsers do, programs do not.
#[must_use]
pub fn wants_page(headers: &HeaderMap) -> bool {
    let weight_of = |media_type: &str| {
        let found = weights(headers, ACCEPT).find(|(name, _)| name == media_type);
        found.map_or(0.0, |(_, weight)| weight)
    };
    let (page, json) = (weight_of("text/html"), weight_of("application/json"));
    page > 0.0 && page > json
}
