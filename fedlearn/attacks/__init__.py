"""What an adversary gets: attacks that read what it would see, and audits that bound it."""
