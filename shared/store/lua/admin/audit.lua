-- allow-oom: an operator must be able to act on a full server, and never without a trace.
-- Append to the audit trail if its newest entry is the one that the new entry names.
-- KEYS stream head   ARGV head_before number digest_and_seal max_kept then field, value …
-- {1, head} or {0, head}: another entry came before; `head` is `number id digest seal` of the newest
local head = redis.call('GET', KEYS[2]) or ''
if head ~= ARGV[1] then return {0, head} end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], '*', unpack(ARGV, 5))
head = ARGV[2] .. ' ' .. id .. ' ' .. ARGV[3]
redis.call('SET', KEYS[2], head)
return {1, head}
