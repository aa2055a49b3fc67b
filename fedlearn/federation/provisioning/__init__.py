"""Setting up a federation: certificates, keys, the signed roster, a kit for everyone."""
