-- allow-oom: only subtracts.
-- Subtract what the gate counted, because nothing was recorded; once for calls that counted once.
-- KEYS counted window…   ARGV is_repeatable
if ARGV[1] == '1' and redis.call('DEL', KEYS[1]) == 0 then return 0 end
for i = 2, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
return 1
