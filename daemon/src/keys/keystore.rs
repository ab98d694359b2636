//! The V3 keystore ("Web3 Secret Storage"): scrypt, AES-128-CTR, and a keccak checksum.

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use protocol::EvmAddress;
use protocol::hash::keccak;
use serde::{Deserialize, Serialize};

use super::Passphrase;

/// Memory that a keystore file may ask scrypt for, in bytes.
const MAX_MEMORY: u64 = 512 << 20;
/// How often a keystore file may ask scrypt to run in all.
const MAX_PARALLEL: u32 = 16;

/// How expensive a guess of the passphrase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// 2¹⁷ · 8: an eighth of a gigabyte and a good part of a second. For keys that persist.
    Standard,
    /// 2¹² · 8: four megabytes and a few milliseconds. For tests and the demo.
    Light,
}

impl Cost {
    const fn log_n(self) -> u8 {
        match self {
            Self::Standard => 17,
            Self::Light => 12,
        }
    }
}

/// Why a keystore does not open.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// It is not JSON of the right form.
    #[error("it is not a V3 keystore ({0}); restore it from your backup")]
    Format(#[from] serde_json::Error),
    /// It is of another version than 3.
    #[error("its keystore version is {0}; only version 3 is supported")]
    Version(u32),
    /// Another cipher or key derivation.
    #[error("it uses {0}; only scrypt with aes-128-ctr is supported")]
    Algorithm(String),
    /// Numbers that no honest wallet writes.
    #[error(
        "its scrypt parameters are outside the limits: no wallet writes such; restore it from your backup"
    )]
    Parameters,
    /// The secret does not have 32 bytes.
    #[error("its secret does not have 32 bytes; restore it from your backup")]
    Length,
    /// The checksum differs.
    #[error("the passphrase is wrong, or the file is damaged; check OPENLEDGER_PASSPHRASE_FILE")]
    WrongPassphrase,
    /// The operating system gave no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Entropy(getrandom::Error),
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    #[serde(with = "hex")]
    ciphertext: Vec<u8>,
    kdf: String,
    kdfparams: KdfParams,
    #[serde(with = "hex")]
    mac: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    #[serde(with = "hex")]
    iv: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct KdfParams {
    dklen: u32,
    n: u64,
    r: u32,
    p: u32,
    #[serde(with = "hex")]
    salt: Vec<u8>,
}

/// Hexadecimal fields without a prefix, as every wallet writes them.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&::hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        ::hex::decode(String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// Encrypts a secret; the address is written for wallets to show.
///
/// # Errors
/// [`KeystoreError::Entropy`] where there is no randomness.
pub fn seal(
    secret: &[u8; 32],
    phrase: &Passphrase,
    cost: Cost,
    address: Option<EvmAddress>,
) -> Result<String, KeystoreError> {
    let mut random = [0u8; 64];
    getrandom::fill(&mut random).map_err(KeystoreError::Entropy)?;
    let (salt, rest) = random.split_at(32);
    let (iv, id) = rest.split_at(16);
    let kdfparams = KdfParams { dklen: 32, n: 1 << cost.log_n(), r: 8, p: 1, salt: salt.to_vec() };
    let derived = derive(&kdfparams, phrase)?;
    let mut ciphertext = secret.to_vec();
    apply_cipher(&derived, iv, &mut ciphertext)?;
    let file = File {
        version: 3,
        id: uuid(id),
        address: address.map(|address| ::hex::encode(address.0)),
        crypto: Crypto {
            cipher: "aes-128-ctr".to_owned(),
            cipherparams: CipherParams { iv: iv.to_vec() },
            mac: keccak(&[&derived[16..], &ciphertext]).0.to_vec(),
            ciphertext,
            kdf: "scrypt".to_owned(),
            kdfparams,
        },
    };
    Ok(serde_json::to_string_pretty(&file)?)
}

/// Decrypts a secret.
///
/// # Errors
/// [`KeystoreError`] saying what is wrong with file or passphrase.
pub fn open(text: &str, phrase: &Passphrase) -> Result<[u8; 32], KeystoreError> {
    let file: File = serde_json::from_str(text)?;
    if file.version != 3 {
        return Err(KeystoreError::Version(file.version));
    }
    let crypto = file.crypto;
    if crypto.cipher != "aes-128-ctr" {
        return Err(KeystoreError::Algorithm(crypto.cipher));
    }
    if crypto.kdf != "scrypt" {
        return Err(KeystoreError::Algorithm(crypto.kdf));
    }
    let derived = derive(&crypto.kdfparams, phrase)?;
    if keccak(&[&derived[16..], &crypto.ciphertext]).0[..] != crypto.mac[..] {
        return Err(KeystoreError::WrongPassphrase);
    }
    let mut secret = crypto.ciphertext;
    apply_cipher(&derived, &crypto.cipherparams.iv, &mut secret)?;
    secret.try_into().map_err(|_| KeystoreError::Length)
}

fn derive(params: &KdfParams, phrase: &Passphrase) -> Result<[u8; 32], KeystoreError> {
    let is_sane = params.dklen == 32
        && params.n.is_power_of_two()
        && params.n > 1
        && (1..=MAX_PARALLEL).contains(&params.p)
        && params.n.saturating_mul(128).saturating_mul(u64::from(params.r)) <= MAX_MEMORY;
    let log_n = u8::try_from(params.n.trailing_zeros()).map_err(|_| KeystoreError::Parameters)?;
    let params_of = scrypt::Params::new(log_n, params.r, params.p);
    let (true, Ok(scrypt_params)) = (is_sane, params_of) else {
        return Err(KeystoreError::Parameters);
    };
    let mut out = [0; 32];
    scrypt::scrypt(phrase.as_bytes(), &params.salt, &scrypt_params, &mut out)
        .map_err(|_| KeystoreError::Parameters)?;
    Ok(out)
}

fn apply_cipher(derived: &[u8; 32], iv: &[u8], data: &mut [u8]) -> Result<(), KeystoreError> {
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(&derived[..16], iv)
        .map_err(|_| KeystoreError::Parameters)?;
    cipher.apply_keystream(data);
    Ok(())
}

/// A random UUID (version 4) in its usual writing.
fn uuid(random: &[u8]) -> String {
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(random);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = ::hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scrypt example of the Web3 Secret Storage definition.
    const VECTOR: &str = r#"{
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": { "iv": "83dbcc02d8ccb40e466191a123791e0e" },
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32, "n": 262144, "r": 1, "p": 8,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097"
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3
    }"#;

    #[test]
    fn the_published_vector_opens() {
        let secret = open(VECTOR, &Passphrase::new("testpassword")).unwrap();
        let expected = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
        assert_eq!(::hex::encode(secret), expected);
    }

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_only() {
        let phrase = Passphrase::new("correct horse");
        let sealed = seal(&[9; 32], &phrase, Cost::Light, None).unwrap();
        assert_eq!(open(&sealed, &phrase).unwrap(), [9; 32]);
        let wrong = open(&sealed, &Passphrase::new("battery staple"));
        assert!(matches!(wrong, Err(KeystoreError::WrongPassphrase)));
        assert_ne!(sealed, seal(&[9; 32], &phrase, Cost::Light, None).unwrap());
    }

    #[test]
    fn hostile_files_are_refused_before_memory_is_taken() {
        let phrase = Passphrase::new("testpassword");
        let greedy = VECTOR.replace("262144", "1099511627776");
        assert!(matches!(open(&greedy, &phrase), Err(KeystoreError::Parameters)));
        let odd = VECTOR.replace("262144", "1000");
        assert!(matches!(open(&odd, &phrase), Err(KeystoreError::Parameters)));
        let short = VECTOR.replace("83dbcc02d8ccb40e466191a123791e0e", "83");
        assert!(open(&short, &phrase).is_err());
        let old = VECTOR.replace("\"version\": 3", "\"version\": 1");
        assert!(matches!(open(&old, &phrase), Err(KeystoreError::Version(1))));
        let other = VECTOR.replace("scrypt", "pbkdf2");
        assert!(matches!(open(&other, &phrase), Err(KeystoreError::Algorithm(_))));
        assert!(matches!(open("{}", &phrase), Err(KeystoreError::Format(_))));
    }
}
