//! The certificates of one control plane: an authority, what the servers show, and who the clients are.

use std::path::Path;

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Writes all keys and certificates into `folder`: `ca.crt`, `server.crt` and `server.key` for everything that serves,
/// `service-accounts.key` and `.pub` for tokens, and a client certificate for each of `clients` (user name, group).
///
/// `addresses` are the names and IP addresses that the server certificate is for.
pub(crate) fn write(folder: &Path, addresses: &[&str], clients: &[(&str, &str, &str)]) -> anyhow::Result<()> {
    std::fs::create_dir(folder).with_context(|| format!("making {}", folder.display()))?;
    let put = |name: &str, text: &str| {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    };

    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "test-cluster");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    put("ca.crt", &authority.pem())?;

    let issue = |name: &str, mut wanted: CertificateParams, purpose: ExtendedKeyUsagePurpose| -> anyhow::Result<()> {
        wanted.extended_key_usages = vec![purpose];
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        put(&format!("{name}.crt"), &wanted.signed_by(&key, &authority)?.pem())?;
        put(&format!("{name}.key"), &key.serialize_pem())
    };
    let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
    let mut server = CertificateParams::new(addresses)?;
    server.distinguished_name.push(DnType::CommonName, "server");
    issue("server", server, ExtendedKeyUsagePurpose::ServerAuth)?;
    for &(name, user, group) in clients {
        let mut client = CertificateParams::default();
        client.distinguished_name.push(DnType::CommonName, user);
        if !group.is_empty() {
            client.distinguished_name.push(DnType::OrganizationName, group);
        }
        issue(name, client, ExtendedKeyUsagePurpose::ClientAuth)?;
    }

    let tokens = KeyPair::generate()?;
    put("service-accounts.key", &tokens.serialize_pem())?;
    put("service-accounts.pub", &tokens.public_key_pem())
}
