-- allow-oom: it only gives back.
-- GIVE BACK: what the gate counted, when nothing was recorded after all; once for calls that were
-- counted once.   KEYS counted window…   ARGV is_repeatable
if ARGV[1] == '1' and redis.call('DEL', KEYS[1]) == 0 then return 0 end
for i = 2, #KEYS do
  if tonumber(redis.call('GET', KEYS[i]) or '0') > 0 then redis.call('DECR', KEYS[i]) end
end
return 1
