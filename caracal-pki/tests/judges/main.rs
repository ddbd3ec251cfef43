//! Outside judges of what caracal-pki makes: rustls-webpki, the `openssl` command, the JDK; and the files
//! as the operating system sees them. A judge that is not installed makes its tests fail, with the reason.

mod files;
mod fixture;
mod jdk;
mod mutations;
mod openssl;
mod properties;
mod requests;
mod webpki;
