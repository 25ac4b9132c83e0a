//! The root key: 32 random bytes from which every other key of the server is derived.
//!
//! What must not be readable in a copy of the database is sealed under a derived key, and what must not be guessable from
//! outside is made with one. The root key itself is never in the database; it is in the environment or in a file:
//!
//! * `AKA_ROOT_KEY` has the key itself, in base64 or hexadecimal digits.
//! * `AKA_ROOT_KEY_FILE` (`--root-key-file`) names a file that holds it in one of these forms.
//! * With neither, a first start makes a file that only its owner can read: beside the database file on SQLite, in the
//!   user's data directory on PostgreSQL, so that servers of one user on one machine share it.
//!
//! The database keeps a check value that is derived from the key. A server with another key refuses to start, instead of
//! sealing some rows under one key and some under another.

use std::{
    fmt, fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::types::ids::TenantId;

/// The length of the root key, and of every key that is derived from it, in bytes.
pub const KEY_BYTES: usize = 32;
/// The variable of the environment that holds the key itself. It is no flag: other users of the machine can read those.
pub const VARIABLE: &str = "AKA_ROOT_KEY";

/// The root key. It cannot be printed.
#[derive(Clone)]
pub struct RootKey(Arc<hmac::Key>);

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl RootKey {
    fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// A new key that is kept nowhere: for a store that ends with the process.
    ///
    /// # Errors
    ///
    /// Where the operating system gives no randomness.
    pub fn random() -> Result<Self, RootKeyError> {
        Ok(Self::new(random_bytes()?))
    }

    /// The key for a purpose, in a tenant or for the whole server.
    ///
    /// This is HKDF-Expand with SHA-256 for one block of output (RFC 5869 §2.3). The root key is uniformly random, so that
    /// the extraction step is not needed (§3.3).
    #[must_use]
    pub fn derive(&self, purpose: &str, tenant: Option<TenantId>) -> [u8; KEY_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"aka/");
        context.update(purpose.as_bytes());
        // No purpose has this byte in it, so that two inputs cannot run into one another.
        context.update(&[0]);
        if let Some(tenant) = tenant {
            context.update(tenant.0.as_bytes());
        }
        context.update(&[1]);
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(context.sign().as_ref());
        key
    }

    /// Tells this key from others, without telling anything about it.
    #[must_use]
    pub fn check_value(&self) -> [u8; KEY_BYTES] {
        self.derive("check", None)
    }
}

impl std::str::FromStr for RootKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let bytes = if text.len() == 2 * KEY_BYTES {
            from_hexadecimal(text)
        } else {
            BASE64_STANDARD.decode(text).ok()
        };
        let bytes = bytes.and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
        bytes
            .map(Self::new)
            .ok_or("must be 32 bytes in base64 or hexadecimal digits, as `openssl rand -base64 32` prints them")
    }
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let bytes = digits?
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    Some(bytes)
}

fn random_bytes() -> Result<[u8; KEY_BYTES], RootKeyError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| RootKeyError::Randomness)?;
    Ok(bytes)
}

/// Where the root key comes from.
#[derive(Clone, Debug)]
pub enum RootKeySource {
    /// From the environment, or made for this process.
    Given(RootKey),
    /// From a file that somebody has named, which must be there.
    Named(PathBuf),
    /// From the file in which a first start puts it.
    Default(PathBuf),
}

/// Why there is no usable root key.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The file cannot be read.
    #[error("cannot read the root key file {}: {reason}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file holds something else.
    #[error("the root key file {} does not contain a root key: it {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it must hold.
        reason: &'static str,
    },
    /// The file cannot be made.
    #[error(
        "cannot create the root key file {}: {reason}. Make the directory writable, or set {VARIABLE} or AKA_ROOT_KEY_FILE",
        path.display()
    )]
    Unwritable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The database has been used with a root key, and it is not here.
    #[error(
        "the root key of this database is missing: there is no file {}. Restore that file from a backup, or set \
         {VARIABLE} or AKA_ROOT_KEY_FILE to the key that the database was first used with",
        path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The database has been used with another root key.
    #[error(
        "this is not the root key of the database: the key from {0} differs from the one that the database was first used \
         with. Set {VARIABLE} or AKA_ROOT_KEY_FILE to that one"
    )]
    Another(String),
    /// The operating system gives no randomness.
    #[error("the operating system provides no random bytes for a root key")]
    Randomness,
}

impl RootKeySource {
    /// The key from the environment or a named file, else that of the default file.
    ///
    /// # Errors
    ///
    /// What is wrong with the settings.
    pub fn of(named: Option<&Path>, default: PathBuf) -> Result<Self, String> {
        match (std::env::var(VARIABLE), named) {
            (Ok(_), Some(_)) => Err(format!(
                "both {VARIABLE} and --root-key-file (or AKA_ROOT_KEY_FILE) are set; set one of them"
            )),
            (Ok(text), None) => {
                let key = text.parse().map_err(|reason| format!("{VARIABLE} {reason}"))?;
                Ok(Self::Given(key))
            }
            (Err(std::env::VarError::NotUnicode(_)), _) => Err(format!("{VARIABLE} is not UTF-8")),
            (Err(std::env::VarError::NotPresent), Some(path)) => Ok(Self::Named(path.to_owned())),
            (Err(std::env::VarError::NotPresent), None) => Ok(Self::Default(default)),
        }
    }

    /// The key, where there is one.
    ///
    /// # Errors
    ///
    /// Where its file cannot be read, or holds something else.
    pub fn find(&self) -> Result<Option<RootKey>, RootKeyError> {
        match self {
            Self::Given(key) => Ok(Some(key.clone())),
            Self::Named(path) => read(path)?.map(Some).ok_or_else(|| RootKeyError::Unreadable {
                path: path.clone(),
                reason: "there is no such file. Create one with `(umask 077; openssl rand -base64 32 > FILE)`".into(),
            }),
            Self::Default(path) => read(path),
        }
    }

    /// Makes the key of a database that has never had one. Of two servers that start together one makes the file, and the
    /// other reads it.
    ///
    /// # Errors
    ///
    /// Where the file cannot be made.
    pub fn make(&self) -> Result<RootKey, RootKeyError> {
        let path = match self {
            Self::Given(key) => return Ok(key.clone()),
            Self::Named(path) | Self::Default(path) => path,
        };
        let unwritable = |error: io::Error| RootKeyError::Unwritable {
            path: path.clone(),
            reason: error.to_string(),
        };
        let bytes = random_bytes()?;
        if write(path, &bytes).map_err(unwritable)? {
            tracing::info!(
                path = %path.display(),
                "created a new root key. Back up this file: without it the secrets in the database cannot be read"
            );
            return Ok(RootKey::new(bytes));
        }
        self.find()?.ok_or_else(|| RootKeyError::Missing { path: path.clone() })
    }

    /// The error for a database that has a root key which is not here.
    #[must_use]
    pub fn missing(&self) -> RootKeyError {
        RootKeyError::Missing {
            path: match self {
                Self::Given(_) => PathBuf::new(),
                Self::Named(path) | Self::Default(path) => path.clone(),
            },
        }
    }
}

/// Names the source, for a person.
impl fmt::Display for RootKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str(VARIABLE),
            Self::Named(path) | Self::Default(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// The key in a file. None: there is no such file.
fn read(path: &Path) -> Result<Option<RootKey>, RootKeyError> {
    /// Those who may read the file beside its owner.
    const OTHERS: u32 = 0o077;
    let unreadable = |error: io::Error| RootKeyError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if fs::metadata(path).map_err(unreadable)?.permissions().mode() & OTHERS != 0 {
        tracing::warn!(
            path = %path.display(),
            "other users of this machine can read the root key file; run `chmod 600` on it"
        );
    }
    let key = text.parse().map_err(|reason| RootKeyError::Malformed {
        path: path.to_owned(),
        reason,
    })?;
    Ok(Some(key))
}

/// Writes a new file that only its owner can read, whole or not at all. False: the file is there already.
fn write(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    // Made with mode 0600 by this crate, whatever the umask adds.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    writeln!(file, "{}", BASE64_STANDARD.encode(bytes))?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {
            // The name is durable, too, before anything is sealed with the key.
            fs::File::open(directory)?.sync_all()?;
            Ok(true)
        }
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(refused.error),
    }
}

/// The directory for data of the user who runs the program, by the XDG Base Directory Specification; the working directory
/// where there is no such user.
#[must_use]
pub fn in_data_directory() -> PathBuf {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map_or_else(|| "aka-root.key".into(), |data| data.join("aka/root.key"))
}
