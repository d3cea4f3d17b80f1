//! Every way that certificates and keys are handed in wrongly, and what is said of it.

use super::*;
use std::path::PathBuf;

/// Our own files, and the field's where they lie beside the repository.
fn folders() -> Vec<PathBuf> {
    let here =
        PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo test says where the crate lies"));
    let field = here.join("../../shared/vectors/field-cases/tls");
    let mut all = vec![here.join("tests/vectors/tls")];
    all.extend(field.is_dir().then_some(field));
    all
}

fn taken(folder: &Path, cert: &str, key: &str) -> Result<usize, PemError> {
    let (cert, key) = (Pem::open(&folder.join(cert))?, Pem::open(&folder.join(key))?);
    pair(&cert, &key).map(|(chain, _)| chain.len())
}

#[test]
fn certificates_and_keys_as_people_hand_them_in_are_taken_or_named() {
    for folder in folders() {
        for (cert, key) in [
            ("good.pem", "good.key"),
            ("bom.pem", "good.key"),
            ("server-auth-only.pem", "server-auth-only.key"),
        ] {
            assert_eq!(taken(&folder, cert, key).unwrap(), 1, "{cert}");
        }
        for (cert, key, odd, says) in [
            ("good.pem", "encrypted-pkcs8.key", "encrypted-pkcs8.key", "is encrypted"),
            ("good.pem", "encrypted-sec1.key", "encrypted-sec1.key", "is encrypted"),
            ("good.der", "good.key", "good.der", "it is DER"),
            ("p521.pem", "p521.key", "p521.key", "ECDSA on P-521"),
            ("p521.pem", "p521.key", "p521.key", KINDS_THAT_WORK),
            ("x509-v1.pem", "x509-v1.key", "x509-v1.pem", "version 1"),
            ("reversed.pem", "good.key", "reversed.pem", "number 2 is: put that one first"),
            ("good.pem", "server-auth-only.key", "good.pem", "take both from one issue"),
            ("good.key", "good.key", "good.key", "there is no certificate in it: it holds PRIVATE KEY"),
            ("good.pem", "good.pem", "good.pem", "there is no private key in it: it holds CERTIFICATE"),
        ] {
            let error = taken(&folder, cert, key).unwrap_err();
            let text = error.to_string();
            assert!(error.place.ends_with(odd) && text.contains(says), "{cert}, {key}: {text}");
        }
    }
    let own = &folders()[0];
    let text = taken(own, "good.p12", "good.key").unwrap_err().to_string();
    assert!(text.contains("PKCS#12"), "{text}");
}

#[test]
fn every_form_that_is_not_pem_is_named() {
    let good = std::fs::read(folders()[0].join("good.pem")).unwrap();
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(good.iter().flat_map(|byte| [*byte, 0])).collect();
    for (bytes, says) in [
        (&b""[..], "it is empty"),
        (b" \r\n\n", "it is empty"),
        (b"\xef\xbb\xbf\n", "it is empty"),
        (&utf16, "UTF-16"),
        (&[0x80, 0x01, 0x02][..], "neither PEM nor DER"),
        (b"0x30 is how DER begins, and this does not\n", "no line of it begins with `-----BEGIN `"),
        (&good[..good.len() - 30], "has no end line"),
        (b"-----BEGIN CERTIFICATE\n", "is not as it should be"),
        (b"-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n", "not base64"),
        (
            b"-----BEGIN TRUSTED CERTIFICATE-----\nMA==\n-----END TRUSTED CERTIFICATE-----\n",
            "OpenSSL's own form",
        ),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n",
            "made of the request",
        ),
    ] {
        let text = Pem::of("FILE", bytes).certificates().unwrap_err().to_string();
        assert!(text.starts_with("FILE: ") && text.contains(says), "{says}: {text}");
    }
    let with_windows_lines = String::from_utf8(good).unwrap().replace('\n', "\r\n");
    assert_eq!(Pem::of("FILE", with_windows_lines.as_bytes()).certificates().unwrap().len(), 1);
}

#[test]
fn a_broken_key_is_refused_without_showing_what_is_in_it() {
    for pem in [
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGJ5dGVz!!\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGJ5dGVz\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGJ5dGVz\n",
        "-----BEGIN c2VjcmV0IGJ5dGVz\n",
    ] {
        let pem = Pem::of("the key", pem.as_bytes());
        let error = pem.key().unwrap_err();
        for said in [error.to_string(), format!("{error:?}"), format!("{pem:?}")] {
            assert!(!said.contains("c2Vj") && !said.contains("secret bytes"), "{said}");
        }
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let folder = folders().remove(0);
    let pipe = std::env::temp_dir().join(format!("signonce-pem-{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, says) in [
        (pipe.as_path(), "not a regular file"),
        (Path::new("/dev/zero"), "not a regular file"),
        (&folder, "a directory"),
        (&folder.join("missing.pem"), "missing.pem: cannot be read: "),
    ] {
        let text = Pem::open(path).unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    }
    std::fs::remove_file(pipe).unwrap();
}
