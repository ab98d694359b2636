//! The keys of a data directory: written once, opened unattended, refused with a reason.

use std::path::PathBuf;

use daemon::keys::{Cost, KeysError, KeystoreError, NodeKeys, Passphrase, PassphraseSources};

#[test]
fn keys_survive_a_restart_and_are_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let phrase = Passphrase::new("a phrase");
    let keys = NodeKeys::generate().unwrap();
    assert!(!NodeKeys::exist(dir.path()));
    keys.create(dir.path(), &phrase, Cost::Light).unwrap();
    assert!(NodeKeys::exist(dir.path()));
    let again = NodeKeys::open(dir.path(), &phrase).unwrap();
    assert_eq!(again.node, keys.node);
    assert_eq!(again.operator_address(), keys.operator_address());
    let second = keys.create(dir.path(), &phrase, Cost::Light);
    assert!(matches!(second, Err(KeysError::Exists(_))));
}

#[test]
fn a_wrong_passphrase_is_told_apart_from_missing_keys() {
    let dir = tempfile::tempdir().unwrap();
    let missing = NodeKeys::open(dir.path(), &Passphrase::new("x")).unwrap_err();
    assert!(missing.to_string().contains("openledger init"), "{missing}");
    let keys = NodeKeys::generate().unwrap();
    keys.create(dir.path(), &Passphrase::new("right"), Cost::Light).unwrap();
    let wrong = NodeKeys::open(dir.path(), &Passphrase::new("wrong")).unwrap_err();
    let is_wrong =
        matches!(wrong, KeysError::Keystore { source: KeystoreError::WrongPassphrase, .. });
    assert!(is_wrong, "{wrong}");
}

#[cfg(unix)]
#[test]
fn secrets_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (phrase, path) = Passphrase::generate(dir.path()).unwrap();
    NodeKeys::generate().unwrap().create(dir.path(), &phrase, Cost::Light).unwrap();
    let files = ["keys/node.json", "keys/operator.json"].map(|name| dir.path().join(name));
    for file in files.into_iter().chain([path]) {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn the_passphrase_is_found_without_a_person() {
    let dir = tempfile::tempdir().unwrap();
    let none = PassphraseSources::default().find(dir.path()).unwrap_err();
    assert!(none.to_string().contains("OPENLEDGER_PASSPHRASE_FILE"), "{none}");
    let (generated, _) = Passphrase::generate(dir.path()).unwrap();
    assert_eq!(PassphraseSources::default().find(dir.path()).unwrap(), generated);

    let variable =
        PassphraseSources { variable: Some("from env".to_owned()), ..Default::default() };
    assert_eq!(variable.find(dir.path()).unwrap(), Passphrase::new("from env"));
    std::fs::write(dir.path().join("openledger-passphrase"), "from systemd\n").unwrap();
    let credential = PassphraseSources { credentials: Some(dir.path().to_owned()), ..variable };
    assert_eq!(credential.find(dir.path()).unwrap(), Passphrase::new("from systemd"));
    let file = dir.path().join("phrase");
    std::fs::write(&file, "from file\r\n").unwrap();
    let named = PassphraseSources { file: Some(file), ..credential };
    assert_eq!(named.find(dir.path()).unwrap(), Passphrase::new("from file"));
    let absent = PassphraseSources { file: Some(PathBuf::from("/nonexistent")), ..named };
    assert!(absent.find(dir.path()).is_err(), "a named file is never silently passed over");
}
