-- Return the node's clock in µs.
-- KEYS any of the node
return int(now_us())
