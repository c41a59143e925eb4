"""Pages for administrators: for anybody without the permission of a page there is no such page."""
