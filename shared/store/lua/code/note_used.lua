-- Count a code that came by SMS as used, once. KEYS mark prefix…   ARGV what a source's key begins with
local mark = redis.call('GET', KEYS[1])
if not mark then return 0 end
redis.call('DEL', KEYS[1])
local bucket, source = string.match(mark, '^%S+ (%d+) (.*)$')
for i = 2, #KEYS do redis.call('HINCRBY', KEYS[i], 'u' .. bucket, 1) end
if source ~= '' then redis.call('HINCRBY', ARGV[1] .. source, 'u' .. bucket, 1) end
return 1
