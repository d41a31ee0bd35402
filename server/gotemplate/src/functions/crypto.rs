//! sprig's digests, passwords and encryption.
//!
//! Upstream also has functions that make keys and certificates. Every rendering would make new ones, so here they return an
//! error that says what to do instead. A template that names one still parses.

use aes::Aes256;
use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};

use super::arguments::{string, text};
use super::{Context, Entry, Param, paths, plain};
use crate::value::{Text, Value};

const S: Param = Param::Text;
const I: Param = Param::Int;
const A: Param = Param::Any;

pub(super) static FUNCTIONS: &[Entry] = &[
    plain("sha1sum", &[S], |context, args| sum(context, args, &digest::SHA1_FOR_LEGACY_USE_ONLY)),
    plain("sha256sum", &[S], |context, args| sum(context, args, &digest::SHA256)),
    plain("sha512sum", &[S], |context, args| sum(context, args, &digest::SHA512)),
    plain("adler32sum", &[S], |context, args| {
        let text = text(args, 0);
        context.budget.read(text.len())?;
        let step = |(a, b): (u32, u32), byte: &u8| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        };
        let (a, b) = text.iter().fold((1, 0), step);
        context.budget.text((b << 16 | a).to_string())
    }),
    plain("bcrypt", &[S], |context, args| context.budget.text(bcrypted(context, &text(args, 0))?)),
    plain("htpasswd", &[S, S], |context, args| {
        let user = string(args, 0);
        if user.contains(':') {
            return context.budget.text(format!("invalid username: {user}"));
        }
        context.budget.text(format!("{user}:{}", bcrypted(context, &text(args, 1))?))
    }),
    plain("encryptAES", &[S, S], encrypt),
    plain("decryptAES", &[S, S], decrypt),
    plain("derivePassword", &[Param::Uint32, S, S, S, S], derive_password),
    plain("genPrivateKey", &[S], |context, args| match string(args, 0).as_str() {
        "" | "rsa" | "dsa" | "ecdsa" | "ed25519" => Err(elsewhere("key")),
        other => context.budget.text(format!("Unknown type {other}")),
    }),
    plain("buildCustomCert", &[S, S], |_, _| Err(elsewhere("certificate"))),
    plain("genCA", &[S, I], |_, _| Err(elsewhere("certificate"))),
    plain("genCAWithKey", &[S, I, S], |_, _| Err(elsewhere("certificate"))),
    plain("genSelfSignedCert", &[S, A, A, I], |_, _| Err(elsewhere("certificate"))),
    plain("genSelfSignedCertWithKey", &[S, A, A, I, S], |_, _| Err(elsewhere("certificate"))),
    plain("genSignedCert", &[S, A, A, I, A], |_, _| Err(elsewhere("certificate"))),
    plain("genSignedCertWithKey", &[S, A, A, I, A, S], |_, _| Err(elsewhere("certificate"))),
];

fn elsewhere(what: &str) -> String {
    format!("every rendering would make another {what}; make it once and put it into the workflow's hardwareMap")
}

fn sum(context: &Context<'_>, args: &[Value], algorithm: &'static digest::Algorithm) -> Result<Value, String> {
    let text = text(args, 0);
    context.budget.read(text.len())?;
    let sum = digest::digest(algorithm, &text);
    context.budget.text(sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Go's default cost is 10, which takes about 60 ms.
fn bcrypted(context: &Context<'_>, password: &[u8]) -> Result<String, String> {
    context.budget.work(400_000)?;
    if password.len() > 72 {
        return Ok("failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned());
    }
    let hash = bcrypt::hash_with_salt(password, 10, random()?).map_err(|error| error.to_string())?;
    Ok(hash.format_for_version(bcrypt::Version::TwoA))
}

fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
    Ok(bytes)
}

fn cipher(password: &[u8]) -> Aes256 {
    let mut key = [0; 32];
    let length = password.len().min(32);
    key[..length].copy_from_slice(&password[..length]);
    Aes256::new(&Array::from(key))
}

fn encrypt(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let content = text(args, 1);
    if content.is_empty() {
        return context.budget.text("");
    }
    context.budget.read(content.len())?;
    context.budget.take(content.len().saturating_mul(2))?;
    let mut padded = content.to_vec();
    let padding = 16 - content.len() % 16;
    padded.extend(std::iter::repeat_n(u8::try_from(padding).unwrap_or(16), padding));
    let cipher = cipher(&text(args, 0));
    let mut last = random()?;
    let mut out = last.to_vec();
    for block in padded.as_chunks::<16>().0 {
        let mut mixed = Array::from(std::array::from_fn::<u8, 16, _>(|at| block[at] ^ last[at]));
        cipher.encrypt_block(&mut mixed);
        last = mixed.into();
        out.extend_from_slice(&last);
    }
    paths::base64(context, &out)
}

fn decrypt(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    let sealed = text(args, 1);
    if sealed.is_empty() {
        return context.budget.text("");
    }
    context.budget.read(sealed.len())?;
    context.budget.take(sealed.len())?;
    let bytes = paths::base64_bytes(&sealed).map_err(|at| format!("illegal base64 data at input byte {at}"))?;
    let Some((first, rest)) = bytes.split_first_chunk::<16>() else {
        // The capacity of the buffer in Go's decoder is the longest text that could be decoded.
        let room = sealed.len() / 4 * 3;
        return Err(format!("runtime error: slice bounds out of range [:16] with capacity {room}"));
    };
    let (blocks, left) = rest.as_chunks::<16>();
    if !left.is_empty() {
        return Err("crypto/cipher: input not full blocks".to_owned());
    }
    let cipher = cipher(&text(args, 0));
    let mut last = *first;
    let mut out = Vec::with_capacity(rest.len());
    for block in blocks {
        let mut plain = Array::from(*block);
        cipher.decrypt_block(&mut plain);
        out.extend(plain.iter().zip(last).map(|(byte, before)| byte ^ before));
        last = *block;
    }
    let padding = out.last().copied().map(usize::from).ok_or("runtime error: index out of range [-1]")?;
    match out.len().checked_sub(padding) {
        Some(length) => context.budget.text(out.get(..length).unwrap_or_default()),
        None => Err(format!(
            "runtime error: slice bounds out of range [:{}]",
            i64::try_from(out.len()).unwrap_or(0) - i64::try_from(padding).unwrap_or(0)
        )),
    }
}

/// The templates of Master Password, by password type.
fn password_templates(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "maximum" => &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"],
        "long" => &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
        "medium" => &["CvcnoCvc", "CvcCvcno"],
        "short" => &["Cvcn"],
        "basic" => &["aaanaaan", "aannaaan", "aaannaaa"],
        "pin" => &["nnnn"],
        _ => return None,
    })
}

fn characters(class: u8) -> &'static [u8] {
    match class {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'A' => b"AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

fn derive_password(context: &Context<'_>, args: &mut [Value]) -> Result<Value, String> {
    const SEED: &[u8] = b"com.lyndir.masterpassword";
    let Some(Value::Uint32(counter)) = args.first().cloned() else { return Err("counter is missing".to_owned()) };
    let kind = string(args, 1);
    let Some(templates) = password_templates(&kind) else {
        return context.budget.text(format!("cannot find password template {kind}"));
    };
    // The computation takes 32 MiB and a tenth of a second on purpose.
    context.budget.take(16 << 20)?;
    context.budget.work(1_500_000)?;
    let length = |text: &[u8]| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let (password, user, site) = (text(args, 2), text(args, 3), text(args, 4));
    let key = scrypt(&password, &[SEED, &length(&user), &user].concat());
    let signed = [SEED, &length(&site), &site, &counter.to_be_bytes()].concat();
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &signed);
    let seed = seed.as_ref();
    let template = templates.get(usize::from(seed[0]) % templates.len()).copied().unwrap_or_default();
    let letters = template.bytes().zip(&seed[1..]).map(|(class, byte)| {
        let set = characters(class);
        set[usize::from(*byte) % set.len()]
    });
    Ok(Value::Text(Text::from(letters.collect::<Vec<u8>>())))
}

/// `scrypt` with N = 32768, r = 8, p = 2 and 64 bytes of key.
fn scrypt(password: &[u8], salt: &[u8]) -> [u8; 64] {
    const ONCE: std::num::NonZeroU32 = std::num::NonZeroU32::MIN;
    const BLOCK: usize = 128 * 8;
    let mut blocks = vec![0; 2 * BLOCK];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ONCE, salt, password, &mut blocks);
    for block in blocks.chunks_mut(BLOCK) {
        mix(block);
    }
    let mut key = [0; 64];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ONCE, &blocks, password, &mut key);
    key
}

const WORDS: usize = 256;
const ROUNDS: usize = 32_768;

/// `ROMix` of RFC 7914.
fn mix(block: &mut [u8]) {
    let mut state: Vec<u32> = block.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    let mut table = Vec::with_capacity(ROUNDS * WORDS);
    for _ in 0..ROUNDS {
        table.extend_from_slice(&state);
        state = block_mix(&state);
    }
    for _ in 0..ROUNDS {
        let at = state[WORDS - 16] as usize % ROUNDS * WORDS;
        for (word, other) in state.iter_mut().zip(&table[at..at + WORDS]) {
            *word ^= other;
        }
        state = block_mix(&state);
    }
    for (bytes, word) in block.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_le_bytes();
    }
}

fn block_mix(input: &[u32]) -> Vec<u32> {
    let mut last: [u32; 16] = std::array::from_fn(|at| input[WORDS - 16 + at]);
    let mut out = vec![0; WORDS];
    for index in 0..WORDS / 16 {
        for (word, other) in last.iter_mut().zip(&input[index * 16..]) {
            *word ^= other;
        }
        salsa(&mut last);
        // The even blocks come first.
        let place = (index / 2 + if index % 2 == 0 { 0 } else { WORDS / 32 }) * 16;
        out[place..place + 16].copy_from_slice(&last);
    }
    out
}

/// Salsa20/8.
fn salsa(block: &mut [u32; 16]) {
    let start = *block;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        block[b] ^= block[a].wrapping_add(block[d]).rotate_left(7);
        block[c] ^= block[b].wrapping_add(block[a]).rotate_left(9);
        block[d] ^= block[c].wrapping_add(block[b]).rotate_left(13);
        block[a] ^= block[d].wrapping_add(block[c]).rotate_left(18);
    };
    for _ in 0..4 {
        for (a, b, c, d) in [(0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11)] {
            quarter(a, b, c, d);
        }
        for (a, b, c, d) in [(0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)] {
            quarter(a, b, c, d);
        }
    }
    for (word, before) in block.iter_mut().zip(start) {
        *word = word.wrapping_add(before);
    }
}
