"""The faces: REST, the pages, the command line. Thin; sends nothing."""
