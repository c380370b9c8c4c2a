"""Files and folders: sound, provenance stamps, locks, and how a script ends."""
