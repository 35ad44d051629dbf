"""Places files are taken from and put into: one small protocol, one file an adapter, one contract suite for all."""
