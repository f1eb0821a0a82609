-- List what is known of a user's last codes. KEYS live recent   ARGV tag
return known_codes(KEYS[1], KEYS[2], ARGV[1], math.floor(now_us() / 1000))
