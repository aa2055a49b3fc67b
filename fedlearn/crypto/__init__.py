"""Primitives shaped for federated learning; nothing here knows what is learned.

Every primitive comes from ``cryptography``; only Shamir's sharing, which it does not have, is written
here. The suite is fixed and not negotiated: Ed25519, X25519, HKDF-SHA256, AES-256-GCM,
AES-128-CTR and Shamir over GF(2²⁵⁶ + 297). Failing to verify raises; there is no flag to forget.
"""
