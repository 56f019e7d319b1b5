"""What a config and the registries say of themselves: --explain, --list, --schema."""
