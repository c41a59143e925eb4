"""The audit log as it is read: by people, and by the caches of this process."""
