//! Handshakes that repeat byte for byte.
//!
//! The library's own seed covers nonces and timers, but not its key exchange, nor ECDSA, whose signatures are
//! random and differ even in length. Here keys come from a seed and signatures from RFC 6979.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, X25519, agree};
use dimpl::crypto::{
    ActiveKeyExchange, Buf, CryptoProvider, HashAlgorithm, KeyProvider, NamedGroup, SignatureAlgorithm,
    SupportedKxGroup, aws_lc_rs::default_provider,
};
use dimpl::{ConfigBuilder, CryptoError, CryptoOperation};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::Mutex;

/// Makes all that a handshake draws follow from the seed.
pub(super) fn seed(builder: ConfigBuilder, seed: [u8; 32]) -> ConfigBuilder {
    let mut rng = ChaCha20Rng::from_seed(seed);
    // The library takes its provider by `&'static`: each seeded session leaks these few hundred bytes, which
    // is why seeds are for the lab and for tests.
    let group = |name, rng: &mut ChaCha20Rng| -> &'static dyn SupportedKxGroup {
        Box::leak(Box::new(Group { name, rng: Mutex::new(ChaCha20Rng::from_rng(rng)) }))
    };
    let groups = [group(NamedGroup::X25519, &mut rng), group(NamedGroup::Secp256r1, &mut rng)];
    let provider = CryptoProvider {
        kx_groups: Box::leak(Box::new(groups)),
        key_provider: &RepeatableKeys,
        ..default_provider()
    };
    builder.dangerously_set_rng_seed(rng.next_u64()).with_crypto_provider(provider)
}

struct Group {
    name: NamedGroup,
    rng: Mutex<ChaCha20Rng>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seeded {:?}", self.name)
    }
}

impl SupportedKxGroup for Group {
    fn name(&self) -> NamedGroup {
        self.name
    }

    fn start_exchange(&self, mut public: Buf) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        let failed = |_| CryptoError::OperationFailed(CryptoOperation::GenerateEphemeralKey);
        let mut scalar = [0; 32];
        self.rng.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).fill_bytes(&mut scalar);
        // Below the order of P-256, whose first 32 bits are set.
        scalar[0] &= 0x7f;
        let algorithm = if self.name == NamedGroup::X25519 { &X25519 } else { &ECDH_P256 };
        let private = PrivateKey::from_private_key(algorithm, &scalar).map_err(|_| ()).map_err(failed)?;
        let key = private.compute_public_key().map_err(|_| ()).map_err(failed)?;
        public.clear();
        public.extend_from_slice(key.as_ref());
        Ok(Box::new(Exchange { name: self.name, private, public }))
    }
}

struct Exchange {
    name: NamedGroup,
    private: PrivateKey,
    public: Buf,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seeded exchange over {:?}", self.name)
    }
}

impl ActiveKeyExchange for Exchange {
    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn complete(self: Box<Self>, peer: &[u8], out: &mut Buf) -> Result<(), CryptoError> {
        let refused = CryptoError::InvalidPublicKey(self.name);
        let peer = UnparsedPublicKey::new(self.private.algorithm(), peer);
        agree(&self.private, peer, refused, |secret| {
            out.clear();
            out.extend_from_slice(secret);
            Ok(())
        })
    }

    fn group(&self) -> NamedGroup {
        self.name
    }
}

#[derive(Debug)]
struct RepeatableKeys;

impl KeyProvider for RepeatableKeys {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn dimpl::crypto::SigningKey>, CryptoError> {
        let key = SigningKey::from_pkcs8_der(der).map_err(|_| CryptoError::InvalidPrivateKey)?;
        Ok(Box::new(RepeatableKey(key)))
    }
}

struct RepeatableKey(SigningKey);

impl std::fmt::Debug for RepeatableKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RFC 6979 key")
    }
}

impl dimpl::crypto::SigningKey for RepeatableKey {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), CryptoError> {
        if hash != HashAlgorithm::SHA256 {
            let key_hash = HashAlgorithm::SHA256;
            return Err(CryptoError::SigningKeyHashMismatch { key_hash, requested: hash });
        }
        let signature: Signature = self.0.sign(data);
        out.clear();
        out.extend_from_slice(signature.to_der().as_bytes());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}
