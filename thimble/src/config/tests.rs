use super::*;

#[test]
fn all_mistakes_are_shown_at_once_and_each_names_its_setting() {
    let settings = Settings {
        api_allow: Some("10.0.0.0/8, nonsense".to_owned()),
        discovery: Some("10.0.0.0/8, 10.0.0.1".to_owned()),
        tls_name: Some("prov.example, https://prov".to_owned()),
        plain_grpc: Some("everyone".to_owned()),
        iso_source: Some("/srv/hook.iso".to_owned()),
        metadata: Some("0.0.0.0:1, 50061".to_owned()),
        metadata_proof: Some("no".to_owned()),
        trusted_proxies: Some("10.0.0.1".to_owned()),
        log_format: Some("xml".to_owned()),
        grpc_authority: Some("no-port".to_owned()),
        log_size: Some("1GB".to_owned()),
        log_days: Some(0),
        tftp_block: Some(9000),
        ..Settings::default()
    };
    let text = settings.check().unwrap_err().to_string();
    for name in [
        "address:",
        "api-allow: \"nonsense\"",
        "discovery: \"10.0.0.1\"",
        "tls-name: \"https://prov\"",
        "plain-grpc: \"everyone\"",
        "iso-source: \"/srv/hook.iso\"",
        "metadata: \"50061\"",
        "metadata-proof: \"no\"",
        "trusted-proxies: \"10.0.0.1\"",
        "log-format: \"xml\"",
        "grpc-authority:",
        "log-size: \"1GB\"",
        "log-days:",
        "tftp-block: 9000",
    ] {
        assert!(text.contains(name), "{name} is missing in: {text}");
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_default() {
    let flags = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 1)), ..Settings::default() };
    let file = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 2)), kernel: Some("k".to_owned()), ..Settings::default() };
    let config = flags.or(file).check().unwrap();
    assert_eq!(
        (config.address, config.kernel.as_str(), config.initrd.as_str(), config.grpc_authority.as_str()),
        (Ipv4Addr::new(10, 0, 0, 1), "k", "initramfs.cpio.zst", "10.0.0.1:42113")
    );
}

#[test]
fn machines_of_a_separate_boots_find_the_workflow_service_at_its_server() {
    for (url, expected) in [
        ("https://prov.example:6443", "prov.example:42113"),
        ("https://10.0.0.9", "10.0.0.9:42113"),
        ("https://[fd00::1]:6443/", "[fd00::1]:42113"),
        ("https://127.0.0.1:6443", "10.0.0.1:42113"),
        ("http://localhost:7081", "10.0.0.1:42113"),
        ("nonsense", "10.0.0.1:42113"),
    ] {
        let given = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 1)), ..Settings::default() };
        let config = given.or(Settings::of_servers(&[url.to_owned()])).check().unwrap();
        assert_eq!(config.grpc_authority, expected, "{url}");
    }
    let urls = ["https://prov.example:6443", "https://[fd00::2]:6443"].map(str::to_owned);
    let given = Settings { address: Some(Ipv4Addr::new(10, 0, 0, 1)), ..Settings::default() };
    let config = given.or(Settings::of_servers(&urls)).check().unwrap();
    assert_eq!((config.grpc_authority.as_str(), config.servers), ("prov.example:42113", vec!["[fd00::2]:42113".to_owned()]));
}

#[test]
fn the_certificate_is_for_every_name_that_leads_here() {
    let settings = Settings {
        address: Some(Ipv4Addr::new(10, 0, 0, 1)),
        grpc_authority: Some("grpc.example:42113".to_owned()),
        tls_name: Some("prov.example, fd00::1".to_owned()),
        ..Settings::default()
    };
    let names = settings.check().unwrap().names.texts();
    for name in ["10.0.0.1", "grpc.example", "prov.example", "fd00::1", "localhost", "127.0.0.1", "::1"] {
        assert!(names.iter().any(|one| one == name), "{name} is not in {names:?}");
    }
}

#[test]
fn an_unknown_key_in_the_settings_file_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("thimble.yaml");
    std::fs::write(&path, "address: 10.0.0.1\nadress: 10.0.0.2\n").unwrap();
    let text = format!("{:#}", Settings::read(&path).unwrap_err());
    assert!(text.contains("adress") && text.contains("line 2"), "{text}");
}

#[test]
fn the_size_of_the_logs_has_a_unit() {
    for (text, expected) in [
        (None, Some(1 << 30)),
        (Some("500MiB"), Some(500 << 20)),
        (Some("2 GiB"), Some(2 << 30)),
        (Some("16MiB"), Some(16 << 20)),
        (Some("15MiB"), None),
        (Some("1000000000"), None),
        (Some("99999999999TiB"), None),
        (Some("-1GiB"), None),
    ] {
        let mut mistakes = Vec::new();
        let limits = logs::limits(text, None, &mut mistakes);
        assert_eq!(mistakes.is_empty().then_some(limits.total), expected, "{text:?}");
    }
}

#[test]
fn the_server_alone_needs_no_address() {
    assert_eq!(Settings::default().check_server().unwrap().http.port(), 7081);
}
