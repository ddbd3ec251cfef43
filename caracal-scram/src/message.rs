//! The text of the messages (RFC 5802 section 7), taken apart without trust: no input panics.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::record::digits;

/// `r=nonce,s=salt,i=iterations`, extensions after them ignored.
pub(crate) struct ServerFirst<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut attributes = text.split(',');
        let first = attributes.next().unwrap_or_default();
        if first.starts_with("m=") {
            return Err("it demands an extension (m=) that is not supported");
        }
        let nonce = first.strip_prefix("r=").ok_or("no nonce (r=) at the start")?;
        let salt = value(attributes.next(), "s=").ok_or("no salt (s=) after the nonce")?;
        let salt = BASE64.decode(salt).map_err(|_| "the salt (s=) is not base 64")?;
        if salt.is_empty() {
            return Err("the salt (s=) is empty");
        }
        let iterations = value(attributes.next(), "i=").ok_or("no iterations (i=) after the salt")?;
        let iterations = digits(iterations).ok_or("the iterations (i=) are not a number")?;
        extensions(attributes)?;
        Ok(Self { nonce, salt, iterations })
    }
}

/// `v=signature` or `e=error`, extensions after them ignored.
pub(crate) enum ServerFinal<'a> {
    Signature(Vec<u8>),
    Error(&'a str),
}

impl<'a> ServerFinal<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let mut attributes = text.split(',');
        let first = attributes.next().unwrap_or_default();
        extensions(attributes)?;
        if let Some(error) = first.strip_prefix("e=") {
            return Ok(Self::Error(error));
        }
        let signature = first.strip_prefix("v=").ok_or("neither a signature (v=) nor an error (e=)")?;
        BASE64.decode(signature).map(Self::Signature).map_err(|_| "the signature (v=) is not base 64")
    }
}

/// `n,[a=authzid],n=user,r=nonce`, extensions after them ignored.
pub(crate) struct ClientFirst<'a> {
    /// What the client-final message must repeat as channel binding, e.g. `n,,`.
    pub(crate) gs2_header: &'a str,
    pub(crate) bare: &'a str,
    pub(crate) sasl_name: &'a str,
    pub(crate) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let rest =
            text.strip_prefix("n,").ok_or("channel binding is not supported, it must start with `n,`")?;
        let (authzid, bare) = rest.split_once(',').ok_or("no comma after the authorization id")?;
        let gs2_header = &text[..text.len() - bare.len()];
        let mut attributes = bare.split(',');
        let sasl_name =
            value(attributes.next(), "n=").ok_or("no user name (n=), or an extension before it")?;
        if !authzid.is_empty() && authzid.strip_prefix("a=") != Some(sasl_name) {
            return Err("the authorization id is not the user name");
        }
        let nonce = value(attributes.next(), "r=").ok_or("no nonce (r=) after the user name")?;
        if !is_nonce(nonce) {
            return Err("the nonce (r=) is empty or not printable");
        }
        extensions(attributes)?;
        Ok(Self { gs2_header, bare, sasl_name, nonce })
    }
}

/// `c=binding,r=nonce,...,p=proof`, extensions between them ignored.
pub(crate) struct ClientFinal<'a> {
    pub(crate) without_proof: &'a str,
    pub(crate) channel_binding: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: Vec<u8>,
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or("no proof (p=)")?;
        let proof = BASE64.decode(proof).map_err(|_| "the proof (p=) is not base 64, or not at the end")?;
        let mut attributes = without_proof.split(',');
        let binding = value(attributes.next(), "c=").ok_or("no channel binding (c=) at the start")?;
        let channel_binding =
            BASE64.decode(binding).map_err(|_| "the channel binding (c=) is not base 64")?;
        let nonce = value(attributes.next(), "r=").ok_or("no nonce (r=) after the channel binding")?;
        extensions(attributes)?;
        Ok(Self { without_proof, channel_binding, nonce, proof })
    }
}

/// Whether `nonce` may stand in a message: printable ASCII without space and comma.
pub(crate) fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// The text of a message; RFC 5802 has UTF-8 only.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

fn value<'a>(attribute: Option<&'a str>, prefix: &str) -> Option<&'a str> {
    attribute?.strip_prefix(prefix)
}

/// Extensions are to be ignored (RFC 5802 section 5.1), but must be extensions: letters, `=`, a value.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    let is_extension = |attribute: &str| {
        attribute.split_once('=').is_some_and(|(name, value)| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()) && !value.is_empty()
        })
    };
    if attributes.all(is_extension) { Ok(()) } else { Err("what follows is not an extension") }
}
