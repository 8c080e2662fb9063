use super::*;

const STRONG: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

/// Inputs from a file's text, variables and flags.
struct Given {
    inputs: Inputs,
    _scratch: tempfile::TempDir,
}

fn given(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Given {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("core314.toml");
    std::fs::write(&path, file).unwrap();
    let inputs = Inputs {
        presets: Vec::new(),
        file: Some(path),
        environment: environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        flags: flags.iter().map(|(k, v)| Setting::new(k, *v, format!("flag --{k}"))).collect(),
    };
    Given { inputs, _scratch: scratch }
}

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&given(file, environment, &[]).inputs)
}

fn refusal(file: &str, environment: &[(&str, &str)]) -> String {
    load(file, environment).expect_err("a refusal").to_string()
}

fn source_of(config: &Config, key: &str) -> String {
    config.shown().into_iter().find(|shown| shown.key == key).expect("a key").source
}

#[test]
fn every_key_has_a_default_a_rule_and_its_range_in_the_manual() {
    let config = Config::load(&Inputs::default()).expect("the defaults are allowed");
    let defaults: Vec<&String> = config.values.keys().collect();
    let mut ruled: Vec<&str> = rules::RULES.iter().map(|(key, _)| *key).collect();
    ruled.sort_unstable();
    assert_eq!(defaults, ruled);
    for (key, rule) in rules::RULES {
        let rules::Rule::Int(low, high) = rule else { continue };
        let (section, name) = key.rsplit_once('.').unwrap();
        let (_, body) = DEFAULTS.split_once(&format!("\n[{section}]\n")).unwrap();
        let (comment, _) = body.split_once(&format!("\n{name} = ")).unwrap();
        let range = format!("{low} to {high}.");
        let last = comment.rsplit(" = ").next().unwrap();
        assert!(last.contains(&range), "{key}: the comment above it should end with '{range}'");
    }
}

#[test]
fn later_layers_win_and_keep_their_names() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[engine]\npage_size = 7\nmax_batch = 8\n[engine.dispatch]\npriority_step_seconds = 9";
    let environment = [
        ("CORE314__ENGINE__MAX_BATCH", "18"),
        ("CORE314__SERVER__LISTEN", "127.0.0.1:2"),
        ("CORE314_LISTEN", "127.0.0.1:3"),
        ("CORE314__EXECUTORS__OUTBOUND__ALLOWED_PORTS", "80, 443"),
    ];
    let mut given = given(file, &environment, &[("server.listen", "127.0.0.1:4")]);
    given.inputs.presets =
        vec![Setting::new("engine.page_size", "6", "preset"), Setting::new("log.format", "json", "preset")];
    let config = Config::load(&given.inputs).unwrap();
    assert_eq!(config.listen().port(), 4);
    assert_eq!(source_of(&config, "server.listen"), "flag --server.listen");
    assert_eq!(config.number("engine.page_size"), 7, "the file goes over a preset");
    assert_eq!(source_of(&config, "engine.page_size"), given.inputs.file.clone().unwrap().display().to_string());
    assert_eq!(config.number("engine.max_batch"), 18);
    assert_eq!(source_of(&config, "engine.max_batch"), "environment variable CORE314__ENGINE__MAX_BATCH");
    assert_eq!(config.number("engine.dispatch.priority_step_seconds"), 9);
    assert_eq!((config.log_format(), source_of(&config, "log.format")), (LogFormat::Json, "preset".to_owned()));
    assert_eq!(source_of(&config, "engine.cached_plans"), "default");
    let ports: Vec<u16> = config.section("executors.outbound.allowed_ports").unwrap();
    assert_eq!(ports, [80, 443]);
    given.inputs.flags.clear();
    assert_eq!(Config::load(&given.inputs).unwrap().listen().port(), 3, "a short name goes over the long one");
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let mut given = given("[log]\nfilter = \"debug\"", &[], &[]);
    let path = given.inputs.file.take().unwrap();
    given.inputs.environment.push(("CORE314_CONFIG".to_owned(), path.display().to_string()));
    assert_eq!(Config::load(&given.inputs).unwrap().text("log.filter"), "debug");
    given.inputs.environment[0].1 = "/nonexistent/core314.toml".to_owned();
    let message = Config::load(&given.inputs).expect_err("no such file").to_string();
    assert!(message.contains("/nonexistent/core314.toml") && message.contains("cannot be read"), "{message}");
}

#[test]
fn unknown_keys_name_themselves_their_source_and_the_known_ones() {
    let message = refusal("[shutdown]\ngrace = 3", &[]);
    assert!(message.contains("shutdown.grace ("), "{message}");
    assert!(
        message.contains("core314.toml): unknown key; keys of [shutdown] are grace_seconds, store_seconds"),
        "{message}"
    );
    let message = refusal("[engin]\npage_size = 3", &[]);
    assert!(
        message.contains("engin.page_size") && message.contains("sections are server, data, store, engine"),
        "{message}"
    );
    let message = refusal("server = 3", &[]);
    assert!(message.contains("keys of [server] are listen, allow_insecure_listen"), "{message}");
    let message = refusal("", &[("CORE314__SHUTDOWN__GRACE", "3")]);
    assert!(
        message.contains("shutdown.grace (environment variable CORE314__SHUTDOWN__GRACE): unknown key"),
        "{message}"
    );
    let message = refusal("[server.listen]\nport = 3", &[]);
    assert!(message.contains("server.listen.port"), "{message}");
}

#[test]
fn values_out_of_range_or_of_another_kind_are_refused_all_at_once() {
    let file = "[engine]\npartitions = 0\npage_size = \"x\"\nmax_batch = 1.5\n[server]\nlisten = \"localhost\"\n[log]\nformat = \"xml\"\n\
        [executors.outbound]\nallowed_schemes = [\"ftp\"]\nallowed_ports = [0]\nallow_private = 1\n[store]\ndatabase_url = \"mysql://u:hunter2@h/d\"";
    let message = refusal(file, &[]);
    for expected in [
        "engine.partitions (",
        "0 must be a whole number, 1 to 1024",
        "'x' must be a whole number, 1 to 10000",
        "1.5 must be a whole number",
        "'localhost' must be an address with a port, such as 127.0.0.1:3140",
        "'xml' must be one of text, json",
        "must be a list of http, https",
        "must be a list of port numbers, 1 to 65535",
        "1 must be true or false",
        "must be sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, or empty",
    ] {
        assert!(message.contains(expected), "'{expected}' is missing in: {message}");
    }
    assert!(!message.contains("hunter2"), "{message}");
    let message = refusal("", &[("CORE314__ENGINE__PAGE_SIZE", "many")]);
    assert!(
        message.contains("(environment variable CORE314__ENGINE__PAGE_SIZE): 'many' must be a whole number"),
        "{message}"
    );
    let message = refusal("[log\n", &[]);
    assert!(message.contains("core314.toml): is no TOML"), "{message}");
}

#[test]
fn a_secret_of_digits_stays_a_text() {
    let digits = "12345678901234567890123456789012";
    let config = load("", &[("CORE314_SERVICE_KEY", digits), ("CORE314__AUTH__JWT_SECRET", "1e5")]).unwrap();
    assert_eq!(config.secret("auth.service_key"), Some(digits));
    assert_eq!(config.secret("auth.jwt_secret"), Some("1e5"));
}

#[test]
fn what_is_shown_holds_no_secret() {
    let environment = [
        ("CORE314_SERVICE_KEY", STRONG),
        ("CORE314_DATABASE_URL", "postgres://core:hunt@er2@db/core314?password=hunter3&sslmode=require"),
        ("CORE314__TELEMETRY__OTLP_ENDPOINT", "https://us:hunter4@collector.example"),
    ];
    let config = load("", &environment).unwrap();
    let text = serde_json::to_string(&config.shown()).unwrap();
    assert!(!text.contains(STRONG) && !text.contains("er2@") && !text.contains("hunter3"), "{text}");
    assert!(!text.contains("hunter4") && text.contains("https://us:********@collector.example"), "{text}");
    assert!(text.contains("postgres://core:********@db/core314?password=********&sslmode=require"), "{text}");
    assert!(text.contains(
        r#"{"key":"auth.service_key","value":"********","source":"environment variable CORE314_SERVICE_KEY"}"#
    ));
    assert!(
        text.contains(r#"{"key":"auth.jwt_secret","value":"","source":"default"}"#),
        "an unset secret shows as unset: {text}"
    );
}

#[test]
fn the_models_key_and_place_have_the_names_that_others_use() {
    let environment = [("OPENAI_API_KEY", "sk-hunter5"), ("OPENAI_BASE_URL", "http://u:hunter6@127.0.0.1:11434/v1")];
    let config = load("", &environment).unwrap();
    assert_eq!(config.secret("executors.ai.api_key"), Some("sk-hunter5"));
    assert_eq!(source_of(&config, "executors.ai.base_url"), "environment variable OPENAI_BASE_URL");
    let text = serde_json::to_string(&config.shown()).unwrap();
    assert!(!text.contains("hunter5") && !text.contains("hunter6"), "{text}");
    let message = refusal("", &[("OPENAI_BASE_URL", "ollama")]);
    assert!(message.contains("executors.ai.base_url (environment variable OPENAI_BASE_URL)"), "{message}");
}

#[test]
fn serve_needs_strong_secrets() {
    let refusals = |jwt: &str, key: &str| {
        let config = load("", &[("CORE314_JWT_SECRET", jwt), ("CORE314_SERVICE_KEY", key)]).unwrap();
        assert_eq!(config.check_safety(Mode::Dev), Ok(()));
        config.check_safety(Mode::Serve).err().map_or_else(String::new, |error| error.to_string())
    };
    assert_eq!(refusals(STRONG, OTHER), "");
    assert_eq!(refusals(STRONG, ""), "", "a service key is not needed");
    assert!(refusals("", OTHER).contains("auth.jwt_secret (default): must be set; make one with"));
    assert!(
        refusals("short", OTHER)
            .contains("auth.jwt_secret (environment variable CORE314_JWT_SECRET): has 5 characters")
    );
    assert!(refusals(&"ab".repeat(20), OTHER).contains("only 2 different characters"));
    assert!(
        refusals(STRONG, &STRONG[1..]).contains("auth.service_key (environment variable CORE314_SERVICE_KEY): has 31")
    );
    assert!(
        refusals(STRONG, STRONG).contains("auth.service_key (environment variable CORE314_SERVICE_KEY): must differ")
    );
}

#[test]
fn an_identity_providers_keys_stand_in_for_the_secret_and_come_from_one_place() {
    let serve = |environment: &[(&str, &str)]| load("", environment).unwrap().check_safety(Mode::Serve);
    let url = ("CORE314__AUTH__JWKS_URL", "https://id.example/keys");
    let file = ("CORE314__AUTH__JWKS_FILE", "keys.json");
    let issuer = ("CORE314__AUTH__ISSUER", "https://id.example");
    let audience = ("CORE314__AUTH__AUDIENCE", "core314");
    assert_eq!((serve(&[url, issuer, audience]), serve(&[file, issuer, audience])), (Ok(()), Ok(())));
    let both = serve(&[url, file]).expect_err("two places").to_string();
    assert!(both.contains("auth.jwks_url") && both.contains("must be empty where auth.jwks_file is set"), "{both}");
    let weak = serve(&[url, ("CORE314_JWT_SECRET", "short")]).expect_err("a weak secret stays one").to_string();
    assert!(weak.contains("auth.jwt_secret"), "{weak}");
}

#[test]
fn listening_to_the_world_in_the_clear_must_be_asked_for() {
    let check = |listen: &str, allow: &str| {
        let environment = [("CORE314_LISTEN", listen), ("CORE314__SERVER__ALLOW_INSECURE_LISTEN", allow)];
        load("", &environment).unwrap().check_safety(Mode::Dev)
    };
    for loopback in ["127.0.0.1:3140", "127.8.8.8:1", "[::1]:3140"] {
        assert_eq!(check(loopback, "false"), Ok(()));
    }
    for open in ["0.0.0.0:3140", "[::]:3140", "10.0.0.1:80"] {
        let message = check(open, "false").expect_err("open").to_string();
        assert!(message.contains("server.listen (environment variable CORE314_LISTEN)"), "{message}");
        assert!(message.contains("allow_insecure_listen = true"), "{message}");
        assert_eq!(check(open, "true"), Ok(()));
    }
    let environment = [("CORE314_LISTEN", "0.0.0.0:1"), ("CORE314__HTTP__TLS__CERTIFICATE", "/etc/core314/tls.crt")];
    assert_eq!(load("", &environment).unwrap().check_safety(Mode::Dev), Ok(()), "not in the clear");
    let environment = [("CORE314_LISTEN", "0.0.0.0:1"), ("CORE314__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1/32")];
    assert_eq!(load("", &environment).unwrap().check_safety(Mode::Dev), Ok(()), "a proxy terminates TLS");
    let message = refusal("", &[("CORE314__HTTP__TRUSTED_PROXIES", "localhost")]);
    assert!(message.contains("must be a list of networks in CIDR notation, such as 10.0.0.0/8"), "{message}");
}

#[test]
fn the_database_is_in_the_data_directory_unless_it_is_named() {
    let config = load("[data]\ndir = \"/var/lib/core314\"", &[]).unwrap();
    assert_eq!(config.database_url(), "sqlite:/var/lib/core314/core314.db");
    let config = load("", &[("CORE314_DATABASE_URL", "postgres://h/d")]).unwrap();
    assert_eq!(config.database_url(), "postgres://h/d");
}

#[test]
fn variables_without_a_use_are_named_and_those_of_others_are_not() {
    let environment = [
        ("CORE314_LISTN", "127.0.0.1:1"),
        ("CORE314_SECRET_KEY", STRONG),
        ("CORE314_SERVER", "http://x"),
        ("CORE314_PORT_3140_TCP", "tcp://10.0.0.1:3140"),
        ("CORE314_SERVICE_HOST", "10.0.0.1"),
        ("CORE314_LISTEN", ""),
        ("PATH", "/bin"),
    ];
    let config = load("", &environment).unwrap();
    assert_eq!(config.listen().port(), 3140, "an empty variable says nothing");
    let notes = config.notes().join("\n");
    assert_eq!(config.notes().len(), 1, "{notes}");
    assert_eq!(config.secret("secrets.key"), Some(STRONG));
    assert!(
        notes.contains("CORE314_LISTN is not used: keys are CORE314__SECTION__KEY, short names are CORE314_LISTEN")
    );
    assert!(!notes.contains(STRONG));
}
