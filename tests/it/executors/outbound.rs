//! Outbound rules and TLS, as an attempt meets them.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;

use super::server::Server;
use super::{AMPLE, assert_failed, attempt, call, executor_with, failure, output, settings};

#[tokio::test]
async fn this_machine_is_refused_in_every_notation_where_it_is_not_allowed() {
    let mut server = Server::start().await;
    let port = server.url.rsplit(':').next().expect("a port").to_owned();
    let mut settings = settings();
    settings.outbound.allow_loopback = false;
    let api_call = executor_with(&settings, "api_call");
    let hosts = [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
        // These go through the resolver.
        "localhost",
        "LOCALHOST",
    ];
    for host in hosts {
        let performed = api_call.execute(attempt(json!({"url": format!("http://{host}:{port}/")}), AMPLE)).await;
        assert_failed(&performed, "forbidden_address", false);
    }
    let performed = api_call.execute(attempt(json!({"url": format!("http://localhost:{port}/")}), AMPLE)).await;
    let message = &failure(&performed).message;
    assert!(message.contains("executors.outbound.allow_loopback"), "{message}");
    assert!(server.is_quiet());
}

#[tokio::test]
async fn a_name_that_is_allowed_is_reached() {
    let server = Server::start().await;
    server.answer("200 OK", "", "here");
    let performed = call(json!({"url": server.url.replace("127.0.0.1", "localhost")})).await;
    assert_eq!(output(&performed)["body"], json!("here"));
}

#[tokio::test]
async fn a_redirect_does_not_lead_past_the_rules() {
    let mut server = Server::start().await;
    for target in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "//[fd00:ec2::254]/",
        "ftp://127.0.0.1/",
    ] {
        server.answer("302 Found", &format!("Location: {target}\r\n"), "");
        let performed = call(json!({"url": server.url})).await;
        assert_failed(&performed, "forbidden_address", false);
        assert_eq!(performed.http.expect("figures").status_code, Some(302));
        server.next().await;
    }
}

#[tokio::test]
async fn a_port_that_is_not_allowed_is_not_reached() {
    let mut server = Server::start().await;
    let mut settings = settings();
    settings.outbound.allowed_ports = vec![80, 443];
    let performed = executor_with(&settings, "api_call").execute(attempt(json!({"url": server.url}), AMPLE)).await;
    assert_failed(&performed, "forbidden_address", false);
    assert!(server.is_quiet());
}

#[tokio::test]
async fn what_is_not_tls_is_not_taken_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://{}/", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        stream.read_exact(&mut [0]).expect("a greeting");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("the client listens");
    });
    assert_failed(&call(json!({"url": url})).await, "tls", true);
    server.join().expect("no panic");
}

/// A certificate for localhost that no authority signed, and its key, made for this test alone.
const CERTIFICATE: &str = "MIIBmjCCAUGgAwIBAgIUXgMy2ObRk8bqp+n3fRQs9g5nrJswCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMDEwNDY0M1oYDzIxMjYxMDI3MTA0NjQzWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQuBsjiY3eFdj21h+TOlvh4ugPr3lHwSGDRfTwE2DTiJA16DWDDs93foQguKfIQ6kHDpJAIPv5/MWvpZb6TK1IIo28wbTAdBgNVHQ4EFgQUdPquq3xhNUFYEz2Tm3mxiV7UR1MwHwYDVR0jBBgwFoAUdPquq3xhNUFYEz2Tm3mxiV7UR1MwDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgS2lLwttPVMyS6Dos44xJFHzUcwPLs4rgig7JKwleE3ACIHOTGTO6Qlc7x3zgmXanXiggkNb90SXGnOEsfViBUH2L";
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgiDs/0ky3Wj9Cp+cYVhDDY6uMATuufECgEBOZIyuf0qOhRANCAAQuBsjiY3eFdj21h+TOlvh4ugPr3lHwSGDRfTwE2DTiJA16DWDDs93foQguKfIQ6kHDpJAIPv5/MWvpZb6TK1II";

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://localhost:{}/", listener.local_addr().expect("bound").port());
    let der = |text: &str| STANDARD.decode(text).expect("base64");
    let key = PrivatePkcs8KeyDer::from(der(KEY)).into();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(der(CERTIFICATE))], key)
        .expect("a good certificate");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client comes");
        let mut tls = rustls::ServerConnection::new(Arc::new(config)).expect("a good configuration");
        tls.complete_io(&mut stream).expect_err("the client does not trust us");
    });
    let performed = call(json!({"url": url})).await;
    assert_failed(&performed, "certificate", false);
    server.join().expect("no panic");
}
