"""The REST API: one package a resource, the same file names in each."""
