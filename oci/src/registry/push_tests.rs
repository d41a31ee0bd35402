//! Pushing to registries that need nothing, a password, or a token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::build::{ConfigurationBuilder, Image, Layer};
use crate::fake_registry::{Registry, Trouble, tar};
use crate::registry::{Limits, Settings};

fn image() -> (Layer, Image) {
    let layer = Layer::gzip(&tar(&[("a", "1")]), 1).unwrap();
    let image = Image::new(std::iter::once(&layer), ConfigurationBuilder::default().architecture("amd64").os("linux")).unwrap();
    (layer, image)
}

/// Pushes the image with two names. The second one borrows the layer.
async fn push(registry: &Registry, settings: &Settings) -> Result<(), RequestError> {
    let client = Client::new(settings, Limits::default()).unwrap();
    let push = client.push_to(&Url::parse(&format!("http://{}", registry.address)).unwrap());
    let (layer, image) = image();
    for (repository, lender) in [("lab/one", None), ("lab/two", Some("lab/one"))] {
        push.blob(repository, &layer.blob, lender).await?;
        push.blob(repository, &image.config, None).await?;
        push.manifest(repository, "v1", &image.manifest).await?;
    }
    Ok(())
}

/// A folder with Docker's `config.json` for `user` at this registry.
fn docker_login(registry: &Registry, password: &str) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let login = STANDARD.encode(format!("user:{password}"));
    std::fs::write(&file, format!(r#"{{"auths": {{"{}": {{"auth": "{login}"}}}}}}"#, registry.address)).unwrap();
    (folder, Settings { docker_file: Some(file), ..Settings::default() })
}

#[tokio::test]
async fn an_image_is_pushed_once_and_the_next_name_borrows_its_layer() {
    let registry = Registry::start().await;
    push(&registry, &Settings::default()).await.unwrap();
    let (_, image) = image();
    for repository in ["lab/one", "lab/two"] {
        assert_eq!(registry.digest_of(repository, "v1"), image.manifest.digest.to_string());
    }
    assert_eq!(registry.requests("/uploads/1"), 3, "the layer and two times the configuration");
    push(&registry, &Settings::default()).await.unwrap();
    assert_eq!(registry.requests("/uploads/1"), 3, "an existing blob is not sent again");
}

#[tokio::test]
async fn a_password_or_a_token_comes_from_dockers_configuration() {
    for token in [None, Some("t".to_owned())] {
        let registry = Registry::start().await;
        registry.inner.lock().unwrap().basic = Some(STANDARD.encode("user:secret"));
        registry.inner.lock().unwrap().token = token.clone();
        let (_folder, settings) = docker_login(&registry, "secret");
        push(&registry, &settings).await.unwrap();
        assert_eq!(registry.digest_of("lab/two", "v1"), image().1.manifest.digest.to_string(), "{token:?}");
        // The first check requests a token for uploads, so each repository needs one.
        assert_eq!(registry.requests("/token"), if token.is_some() { 2 } else { 0 });

        let (_folder, wrong) = docker_login(&registry, "guess");
        for settings in [wrong, Settings::default()] {
            let error = push(&registry, &settings).await.unwrap_err();
            assert!(matches!(error, RequestError::Denied { .. }), "{error}");
        }
    }
}

#[tokio::test]
async fn a_registry_that_refuses_is_quoted() {
    let registry = Registry::start().await;
    registry.trouble("manifests/v1", &[Trouble::Status(400)]);
    let error = push(&registry, &Settings::default()).await.unwrap_err().to_string();
    assert!(error.contains("PUT /v2/lab/one/manifests/v1") && error.contains("the registry's own words"), "{error}");
}
