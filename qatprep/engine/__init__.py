"""Order, lanes, lock, journal, rollback. Nothing in here knows any hardware."""
