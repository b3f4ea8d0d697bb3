"""A stranger looks at a release: signature, digests, certificates, card and duties, step by step, offline."""
