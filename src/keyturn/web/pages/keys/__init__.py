"""The API Keys tab, and all keys for administrators."""
