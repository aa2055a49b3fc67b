"""Known answers of the primitives: RFC 7748, RFC 8032, RFC 5869 and SP 800-38A."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedlearn.crypto.agreement import AgreementKey, derive_key
from fedlearn.crypto.identity import SigningKey, verify
from fedlearn.crypto.prg import Keystream
from fedlearn.errors import KeyMisuse, TamperedMessage

# RFC 8032, section 7.1: (secret key, public key, message, signature).
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        # The SHA-512 of "abc".
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]

# RFC 7748, section 5.2: (scalar, u-coordinate, product).
RFC_7748 = [
    (
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
    ),
    (
        "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
        "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
    ),
]

# RFC 7748, section 6.1.
ALICE_SECRET = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB_SECRET = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")

# Points of order 1, 2, 4 and 8 (RFC 7748, section 6.1, on contributory behaviour), and their twins.
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_ed25519_signs_as_rfc_8032_says(secret: str, public: str, message: str, signature: str) -> None:
    key = SigningKey.from_bytes(bytes.fromhex(secret))
    assert key.public.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    verify(key.public, bytes.fromhex(signature), bytes.fromhex(message))
    with pytest.raises(TamperedMessage):
        verify(key.public, bytes.fromhex(signature), bytes.fromhex(message) + b"x")


def test_x25519_agrees_as_rfc_7748_says() -> None:
    alice, bob = AgreementKey(ALICE_SECRET), AgreementKey(BOB_SECRET)
    assert (alice.public, bob.public) == (ALICE_PUBLIC, BOB_PUBLIC)
    assert alice.derive(BOB_PUBLIC, info=b"") == derive_key(SHARED, info=b"")
    assert bob.derive(ALICE_PUBLIC, info=b"") == derive_key(SHARED, info=b"")


@pytest.mark.parametrize(("scalar", "point", "product"), RFC_7748)
def test_x25519_multiplies_as_rfc_7748_says(scalar: str, point: str, product: str) -> None:
    assert multiplied(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product
    derived = AgreementKey(bytes.fromhex(scalar)).derive(bytes.fromhex(point), info=b"x")
    assert derived == derive_key(bytes.fromhex(product), info=b"x")


def multiplied(scalar: bytes, point: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(scalar).exchange(X25519PublicKey.from_public_bytes(point))


@pytest.mark.parametrize(
    ("times", "result"),
    [
        (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
        (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
    ],
)
def test_x25519_iterated_gives_the_values_of_rfc_7748(times: int, result: str) -> None:
    scalar = point = bytes([9]) + bytes(31)
    for _ in range(times):
        scalar, point = multiplied(scalar, point), scalar
    assert scalar.hex() == result


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_of_low_order_are_refused(point: str) -> None:
    with pytest.raises(KeyMisuse, match="low order"):
        AgreementKey.generate().derive(bytes.fromhex(point), info=b"")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(KeyMisuse, match=str(length)):
        AgreementKey(bytes(length))
    with pytest.raises(KeyMisuse, match=str(length)):
        SigningKey.from_bytes(bytes(length))
    with pytest.raises(KeyMisuse):
        AgreementKey.generate().derive(bytes(length), info=b"")


# RFC 5869, appendix A: (key, salt, info, length, output).
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("key", "salt", "info", "length", "output"), RFC_5869)
def test_hkdf_derives_as_rfc_5869_says(key: str, salt: str, info: str, length: int, output: str) -> None:
    hkdf = HKDF(algorithm=SHA256(), length=length, salt=bytes.fromhex(salt), info=bytes.fromhex(info))
    assert hkdf.derive(bytes.fromhex(key)).hex() == output


def test_derive_key_is_hkdf_without_salt_cut_to_32_bytes() -> None:
    assert derive_key(bytes.fromhex("0b" * 22), info=b"").hex() == RFC_5869[-1][4][:64]


def test_the_keystream_is_aes_128_ctr_of_sp_800_38a() -> None:
    # SP 800-38A, F.5.1: keystream = plaintext XOR ciphertext of the four blocks.
    seed = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c" + "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    plain = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    cipher = bytes.fromhex(
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
        "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
    )
    stream = Keystream(seed).take(64, np.uint8).tobytes()
    assert bytes(a ^ b for a, b in zip(plain, cipher, strict=True)) == stream


def test_the_counter_runs_over_its_end_as_sp_800_38a_says() -> None:
    # The standard incrementing function on all 128 bits: after the last counter comes 0.
    key = bytes(range(16))
    last, first = (Keystream(key + counter).take(16, np.uint8) for counter in (b"\xff" * 16, bytes(16)))
    over = Keystream(key + b"\xff" * 16).take(32, np.uint8)
    np.testing.assert_array_equal(over, np.concatenate([last, first]))
