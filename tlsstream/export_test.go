package tlsstream

// SetOwnByDefault makes every engine behave as if Options.OwnRecords were set.
func SetOwnByDefault(on bool) { ownByDefault = on }

// SetUpdateAfter sets how many records are sealed before a KeyUpdate of this side's own.
func (o *Options) SetUpdateAfter(records uint64) { o.updateAfter = records }
