//! Tests of the configuration: file, environment, flags.

use super::{load::SETTINGS, *};

const FILE: &str = r#"
[node]
id = 1
data_dir = "data"

[cluster]
id = "00112233445566778899aabbccddeeff"
members = [
    { id = 1, peer = "a:7300", client_url = "https://a:7301" },
    { id = 2, peer = "b:7300", client_url = "https://b:7301" },
]

[tls]
ca = "ca.pem"
cert = "node.pem"
key = "/abs/node.key"
"#;

fn load_with(text: &str, env: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("signonce.toml");
    std::fs::write(&path, text).unwrap();
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    Config::load(Some(&path), owned(env), &owned(flags))
}

fn load(text: &str) -> Result<Config, ConfigError> {
    load_with(text, &[], &[]).map(|loaded| loaded.config)
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = load(FILE).unwrap();
    assert_eq!(config.limits, LimitsSection::default());
    assert_eq!(config.limits.request_timeout_ms, 2_000);
    assert_eq!(config.limits.slot_tolerance, 3);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.listen.admin.ip().is_loopback() && config.listen.metrics.ip().is_loopback());
    assert_eq!(config.this_member().peer, "a:7300");
}

#[test]
fn relative_paths_are_taken_from_the_directory_of_the_file() {
    let config = load(FILE).unwrap();
    assert!(config.node.data_dir.is_absolute() && config.node.data_dir.ends_with("data"));
    assert!(config.tls.ca.is_absolute() && config.tls.ca.ends_with("ca.pem"));
    assert_eq!(config.tls.key, Path::new("/abs/node.key"));
    assert!(config.admin_socket().ends_with("data/admin.sock"));
}

#[test]
fn a_typo_is_an_error_that_names_the_nearest_setting() {
    for (text, name, nearest) in [
        ("[limits]\nrequest_timeout = 5", "limits.request_timeout", Some("limits.request_timeout_ms")),
        ("[limits]\nslot_tolerence = 5", "limits.slot_tolerence", Some("limits.slot_tolerance")),
        ("[listn]\npeer = \"0.0.0.0:1\"", "listn", Some("listen")),
        ("[log]\nlevle = \"info\"", "log.levle", Some("log.level")),
        ("[log]\nzzzzzzzzzzzzzzzzzzzz = 1", "log.zzzzzzzzzzzzzzzzzzzz", None),
    ] {
        match load(&format!("{FILE}\n{text}")) {
            Err(ConfigError::Unknown { name: got, nearest: near }) => {
                assert_eq!((got.as_str(), near.as_deref()), (name, nearest));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let text = FILE.replace("client_url = \"https://b", "client_ulr = \"https://b");
    let error = load(&text).unwrap_err();
    assert!(
        matches!(&error, ConfigError::Unknown { nearest: Some(n), .. } if n == "cluster.members.client_url")
    );
    assert!(error.to_string().contains("did you mean"), "{error}");
}

#[test]
fn the_environment_overrides_the_file_and_flags_override_the_environment() {
    let env = [
        ("SIGNONCE_NODE_ID", "2"),
        ("SIGNONCE_LISTEN_CLIENT", "127.0.0.1:9"),
        ("SIGNONCE_LIMITS_REQUEST_TIMEOUT_MS", "77"),
        ("SIGNONCE_LOG_FORMAT", "text"),
        ("SIGNONCE_CONFIG", "ignored"),
        ("HOME", "/"),
    ];
    let flags = [("limits.request_timeout_ms", "99")];
    let Loaded { config, warnings } = load_with(FILE, &env, &flags).unwrap();
    assert_eq!(config.node.id, NodeId(2));
    assert_eq!(config.listen.client.to_string(), "127.0.0.1:9");
    assert_eq!(config.limits.request_timeout_ms, 99);
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(warnings, Vec::<String>::new());
    let typo = [("limits.request_timeout", "1")];
    assert!(matches!(load_with(FILE, &[], &typo), Err(ConfigError::Unknown { nearest: Some(_), .. })));
}

#[test]
fn every_setting_can_come_from_the_environment() {
    let values = [
        ("node.id", "1"),
        ("node.data_dir", "/d"),
        ("node.unlock_file", "/u"),
        ("node.zone", "fra1"),
        ("cluster.id", "00112233445566778899aabbccddeeff"),
        ("cluster.members", "[{ id = 1, peer = \"a:1\", client_url = \"https://a:2\" }]"),
        ("listen.peer", "127.0.0.1:1"),
        ("listen.client", "127.0.0.1:2"),
        ("listen.admin", "127.0.0.1:3"),
        ("listen.admin_socket", "/s"),
        ("listen.metrics", "127.0.0.1:4"),
        ("tls.ca", "/ca"),
        ("tls.cert", "/cert"),
        ("tls.key", "/key"),
        ("limits.request_timeout_ms", "1"),
        ("limits.slot_tolerance", "2"),
        ("limits.log_bytes_max", "3"),
        ("limits.connections_max", "4"),
        ("limits.drain_ms", "5"),
        ("limits.tick_ms", "6"),
        ("limits.leader_moves_after_ms", "7"),
        ("log.format", "text"),
        ("log.level", "debug"),
        ("backup.dir", "/b"),
        ("backup.every", "30m"),
        ("backup.keep", "5"),
        ("telemetry.otlp", "http://127.0.0.1:4318"),
        ("audit.keep_days", "7"),
        ("audit.keep_records", "8"),
        ("audit.sign_secs", "9"),
    ];
    let names: Vec<_> = SETTINGS.iter().map(|(s, k, _)| format!("{s}.{k}")).collect();
    assert_eq!(names, values.map(|(name, _)| name), "a new setting belongs in this table too");
    let env = values
        .map(|(name, value)| (format!("SIGNONCE_{}", name.replace('.', "_").to_uppercase()), value.into()));
    let config = Config::load(None, env, &[]).unwrap().config;
    assert_eq!(config.limits.tick_ms, 6);
    assert_eq!(config.admin_socket(), Path::new("/s"));
    assert_eq!(config.cluster.members.len(), 1);
}

#[test]
fn a_variable_that_only_looks_like_a_setting_is_a_warning() {
    let env = [("SIGNONCE_LISTEN_CLEINT", "127.0.0.1:9"), ("SIGNONCE_NODE_PORT", "tcp://10.0.0.1:7300")];
    let Loaded { config, warnings } = load_with(FILE, &env, &[]).unwrap();
    assert_eq!(config.listen, ListenSection::default());
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("did you mean SIGNONCE_LISTEN_CLIENT?"), "{warnings:?}");
}

#[test]
fn what_cannot_work_is_refused_before_anything_starts() {
    for (from, to, says) in [
        ("id = 2, peer", "id = 1, peer", "two members have the id 1"),
        ("id = 2, peer", "id = 0, peer", "0 is not a node id"),
        ("\"b:7300\"", "\"a:7300\"", "two members have the address"),
        ("\"b:7300\"", "\"b\"", "host:port"),
        ("\"b:7300\"", "\":7300\"", "host:port"),
        ("https://b", "http://b", "https://host:port"),
        ("id = 1\n", "id = 3\n", "cluster.members has only 1, 2"),
        ("eeff\"", "ee\"", "32 hex digits"),
        ("id = 1\n", "id = \"one\"\n", "not valid"),
        ("ca = \"ca.pem\"\n", "", "missing field `ca`"),
        ("[tls]", "[tls", "not valid"),
    ] {
        assert!(FILE.contains(from));
        let error = load(&FILE.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(says), "{to:?}: {error}");
    }
    assert!(load(&format!("{FILE}\n[limits]\ntick_ms = 0")).unwrap_err().to_string().contains("at least 1"));
}

#[test]
fn a_length_of_time_has_a_unit() {
    let every = |text: &str| Every::try_from(text.to_owned()).map(|every| every.0.as_secs());
    for (text, seconds) in [("45s", 45), ("30m", 1_800), ("6h", 21_600), ("1d", 86_400)] {
        assert_eq!(every(text), Ok(seconds));
    }
    for wrong in
        ["", "6", "h", "0h", "-1h", "1.5h", "6 h", "99999999999999999999d", "18446744073709551615d", "6é"]
    {
        assert!(every(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn traces_go_to_a_plain_http_url_with_a_port() {
    for (otlp, host, url) in [
        ("http://127.0.0.1:4318", "127.0.0.1", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector:4318/", "collector", "http://collector:4318/v1/traces"),
        ("http://[::1]:4318/otel", "::1", "http://[::1]:4318/otel/v1/traces"),
    ] {
        let config = load(&format!("{FILE}\n[telemetry]\notlp = {otlp:?}\n")).unwrap();
        let collector = config.telemetry.collector().unwrap();
        assert_eq!((collector.host.as_str(), collector.url().to_string().as_str()), (host, url));
    }
    assert_eq!(load(FILE).unwrap().telemetry.collector(), None, "off unless it is asked for");
    for otlp in
        ["", "collector:4318", "https://collector:4318", "http://collector", "http://a b:1", "http://a:0"]
    {
        let error = load(&format!("{FILE}\n[telemetry]\notlp = {otlp:?}\n")).unwrap_err();
        assert!(error.to_string().contains("telemetry.otlp"), "{error}");
    }
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_wrong_usage_with_the_length_that_is_allowed() {
    let data = |bytes: usize| format!("/{}", "d".repeat(bytes - 1));
    let with = |dir: String| load_with(FILE, &[], &[("node.data_dir", &dir)]);
    let name = "/admin.sock".len();
    with(data(SOCKET_PATH_BYTES_MAX - name)).unwrap();
    let error = with(data(SOCKET_PATH_BYTES_MAX - name + 1)).unwrap_err().to_string();
    assert!(
        error.contains(&SOCKET_PATH_BYTES_MAX.to_string()) && error.contains("listen.admin_socket"),
        "{error}"
    );
    let short = [("node.data_dir", &*data(200)), ("listen.admin_socket", "/run/signonce/admin.sock")];
    load_with(FILE, &[], &short).unwrap();
}

#[test]
fn the_fence_for_slots_cannot_be_made_wider_than_a_restore_leaves_out() {
    let with = |slots: u64| load_with(FILE, &[], &[("limits.slot_tolerance", &slots.to_string())]);
    assert_eq!(with(MAX_SLOT_TOLERANCE).unwrap().config.limits.slot_tolerance, MAX_SLOT_TOLERANCE);
    let refused = with(MAX_SLOT_TOLERANCE + 1).unwrap_err().to_string();
    assert!(refused.contains(&format!("{MAX_SLOT_TOLERANCE} slots are the most")), "{refused}");
}
