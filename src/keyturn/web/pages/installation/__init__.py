"""The administration's start and the settings in force."""
