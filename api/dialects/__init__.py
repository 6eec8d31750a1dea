"""The published contracts that Everlog speaks beside its own API: a file or a folder each."""
