"""The local sandbox beside bubblewrap, a bare socket and the disk."""
