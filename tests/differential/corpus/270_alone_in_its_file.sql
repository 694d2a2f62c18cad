-- One statement that no transaction can hold needs no directive.

VACUUM (ANALYZE); -- the end
