//! JSON in and JSON out.
//!
//! A body is read with a limit, and strictly: an unknown or doubled field, or a number where a text belongs, is an
//! error that names the field, beside all other mistakes of the body. The types say what is read (serde) and what the document tells (poem-openapi); the
//! tests of the document hold the two together.

use poem::{
    Body as RawBody, IntoResponse, Request, RequestBody, Response,
    error::ReadBodyError,
    http::header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions,
    payload::{ParsePayload, Payload},
    registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry},
    types::Type,
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value};

use super::{
    document::Route,
    error::{Error, InputLocation, Mistake},
    idempotency::Reading,
    operations::BodyLimits,
};

/// The media type of everything.
pub const JSON: &str = "application/json";

/// Mistakes that are listed beside the first: enough for every body that a person would write.
const MAX_LISTED: usize = 50;
/// What is wrong with a field that is not there.
const MISSING: &str = "is missing";

/// A request's body.
pub struct Body<T>(pub T);

impl<T: Type> Payload for Body<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        essence == JSON || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Type + DeserializeOwned> ParsePayload for Body<T> {
    const IS_REQUIRED: bool = true;

    async fn from_request(request: &Request, body: &mut RequestBody) -> poem::Result<Self> {
        let route = request.data::<Route>();
        let limits = route
            .and_then(|route| route.operation.body)
            .unwrap_or(BodyLimits::DEFAULT);
        let too_large = || Error::payload_too_large(limits.max_bytes);
        // What is announced as too large need not be read to be refused.
        let announced = request
            .header(CONTENT_LENGTH)
            .and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|length| length > limits.max_bytes) {
            return Err(too_large().into());
        }
        let read = tokio::time::timeout(limits.within, body.take()?.into_bytes_limit(limits.max_bytes)).await;
        let bytes = read
            .map_err(|_| Error::body_timed_out())?
            .map_err(|error| match error {
                ReadBodyError::PayloadTooLarge => too_large(),
                other => Error::malformed_json(format_args!("it could not be read: {other}")),
            })?;
        let value = parse(&bytes)?;
        Reading::body(request, &bytes);
        Ok(Self(value))
    }
}

/// Reads JSON.
fn parse<T: Type + DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.is_empty() {
        return Err(Error::malformed_json("it is empty"));
    }
    // What is wrong with the JSON goes before what is wrong with its fields, wherever the two are.
    let malformed = || serde_json::from_slice::<IgnoredAny>(bytes).err();
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed().map_or_else(
            || Error::field(InputLocation::Body, "", "must be a JSON object"),
            Error::malformed_json,
        ));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| match malformed() {
        Some(error) => Error::malformed_json(error),
        None => match mistake(error) {
            Ok(first) => Error::invalid_input(&first, &others::<T>(bytes, &first)),
            Err(cause) => Error::malformed_json(cause),
        },
    })?;
    json.end().map_err(Error::malformed_json)?;
    Ok(value)
}

/// What an error of serde says about a field. One that says nothing about any comes back.
fn mistake(error: serde_path_to_error::Error<serde_json::Error>) -> Result<Mistake, serde_json::Error> {
    let path = error.path().to_string();
    let cause = error.into_inner();
    if cause.is_data() {
        let (field, reason) = describe(path, &cause);
        Ok(Mistake::new(InputLocation::Body, field, reason))
    } else if cause.to_string().starts_with("expected value") {
        // Where a name is something else than a text, serde_json says that of it, and means the type.
        Ok(Mistake::new(InputLocation::Body, path, "must be a string"))
    } else {
        Err(cause)
    }
}

/// The mistakes of a body beside the first, at which serde stops: each field is read once more by itself, and each item
/// of a list.
fn others<T: Type + DeserializeOwned>(bytes: &[u8], first: &Mistake) -> Vec<Mistake> {
    let Ok(Value::Object(members)) = serde_json::from_slice(bytes) else {
        return Vec::new();
    };
    let mut found: Vec<Mistake> = Vec::new();
    let mut list = |mistake: Mistake| {
        // A field that is wrong in two ways is listed once, and so is one that comes twice.
        if mistake.field != first.field && found.iter().all(|other| other.field != mistake.field) {
            found.push(mistake);
        }
        found.len() < MAX_LISTED
    };
    for field in required::<T>() {
        if !members.contains_key(field) && !list(Mistake::new(InputLocation::Body, field, MISSING)) {
            return found;
        }
    }
    for (name, value) in members {
        let mistakes = match value {
            Value::Array(items) if !items.is_empty() => mistakes_in_items::<T>(&name, items),
            value => mistake_in::<T>(&name, value).into_iter().collect(),
        };
        for mistake in mistakes {
            if !list(mistake) {
                return found;
            }
        }
    }
    found
}

/// What is wrong with a field, whatever else the body has.
fn mistake_in<T: DeserializeOwned>(name: &str, value: Value) -> Option<Mistake> {
    let alone = Value::Object(Map::from_iter([(name.to_owned(), value)]));
    let error = serde_path_to_error::deserialize::<_, T>(alone).err()?;
    // That other fields are missing is no surprise.
    mistake(error).ok().filter(|mistake| {
        let rest = mistake.field.strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    })
}

/// What is wrong with the items of a field, up to as many as are listed.
fn mistakes_in_items<T: DeserializeOwned>(name: &str, items: Vec<Value>) -> Vec<Mistake> {
    let of_item = |(place, item): (usize, Value)| {
        let mut mistake = mistake_in::<T>(name, Value::Array(vec![item]))?;
        if let Some(rest) = mistake.field.strip_prefix(&format!("{name}[0]")) {
            mistake.field = format!("{name}[{place}]{rest}");
        }
        Some(mistake)
    };
    items
        .into_iter()
        .enumerate()
        .filter_map(of_item)
        .take(MAX_LISTED)
        .collect()
}

/// The fields that a body must have.
fn required<T: Type>() -> Vec<&'static str> {
    let mut registry = Registry::new();
    T::register(&mut registry);
    let name = T::name();
    registry
        .schemas
        .get(&*name)
        .map(|schema| schema.required.clone())
        .unwrap_or_default()
}

/// The field that is wrong, and what is wrong with it, from serde's words.
fn describe(path: String, cause: &serde_json::Error) -> (String, String) {
    let text = cause.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let named = |what: &str| {
        let name = text.strip_prefix(what)?.split('`').next()?;
        Some(if path == "." {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        })
    };
    if let Some(field) = named("missing field `") {
        return (field, MISSING.into());
    }
    if let Some((_, known)) = text
        .split_once(", expected ")
        .filter(|_| text.starts_with("unknown field `"))
    {
        let field = text.split('`').nth(1).unwrap_or_default();
        let prefix = path.strip_suffix(field).unwrap_or(&path).trim_matches('.');
        let field = if prefix.is_empty() {
            field.to_owned()
        } else {
            format!("{prefix}.{field}")
        };
        return (field, format!("is not known; expected {known}"));
    }
    if let Some(field) = named("duplicate field `") {
        return (field, "appears more than once".into());
    }
    let field = if path == "." { String::new() } else { path };
    if let Some((found, expected)) = text
        .strip_prefix("invalid type: ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        return (field, format!("must be {expected}, but is {found}"));
    }
    (field, text.to_owned())
}

impl<'a, T: Type + DeserializeOwned> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Self as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: JSON,
                schema: <Self as Payload>::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match request.content_type() {
            Some(found) if Self::check_content_type(found) => <Self as ParsePayload>::from_request(request, body).await,
            found => {
                let found = found.filter(|found| !found.trim().is_empty());
                let shown: Option<String> = found.map(|found| found.chars().take(100).collect());
                Err(Error::unsupported_media_type(shown.as_deref()).into())
            }
        }
    }
}

/// A request's body that may be left away, where all of it is optional.
pub struct OptionalBody<T>(pub T);

impl<'a, T: Type + DeserializeOwned + Default> ApiExtractor<'a> for OptionalBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Body<T> as Payload>::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let body = <Body<T> as ApiExtractor>::request_meta()?;
        Some(MetaRequest {
            required: false,
            ..body
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let length = request.header(CONTENT_LENGTH).unwrap_or("0");
        let is_absent =
            request.content_type().is_none() && length == "0" && request.header(TRANSFER_ENCODING).is_none();
        if is_absent {
            return Ok(Self(T::default()));
        }
        let Body(value) = <Body<T> as ApiExtractor>::from_request(request, body, options).await?;
        Ok(Self(value))
    }
}

/// An answer's body.
pub struct Answer<T>(pub T);

impl<T: Type> Payload for Answer<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => Response::builder().content_type(JSON).body(RawBody::from(json)),
            Err(error) => Error::internal(error.to_string()).into_response(),
        }
    }
}

impl<T: Type + Serialize + Send> ApiResponse for Answer<T> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![MetaResponse {
                description: "Done.",
                status: Some(200),
                status_range: None,
                content: vec![MetaMediaType {
                    content_type: JSON,
                    schema: T::schema_ref(),
                }],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
