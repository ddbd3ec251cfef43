//! Images: whether they are here, and how they are fetched.

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt as _;

use super::engine;
use super::error::{EngineError, is_absent, words};

/// Those of some images that are not here.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn missing(images: &[String]) -> Result<Vec<String>, EngineError> {
    let images = images.to_vec();
    engine::call(async move |docker| {
        let mut missing = Vec::new();
        for image in images {
            match docker.inspect_image(&image).await {
                Ok(_) => {}
                Err(error) if is_absent(&error) => missing.push(image),
                Err(error) => {
                    return Err(EngineError::request(format!("looking for the image {image}"))(error));
                }
            }
        }
        Ok(missing)
    })
    .await
}

/// Fetches an image; `told` hears what the engine says.
///
/// # Errors
/// [`EngineError::Image`] with what to do instead.
pub async fn pull(image: &str, told: impl Fn(&str) + Send + 'static) -> Result<(), EngineError> {
    let image = image.to_owned();
    engine::call(async move |docker| {
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, None));
        while let Some(step) = progress.next().await {
            let step =
                step.map_err(|error| EngineError::Image { image: image.clone(), why: words(&error) })?;
            if let Some(status) = step.status {
                told(&status);
            }
        }
        Ok(())
    })
    .await
}
