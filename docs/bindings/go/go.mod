module libballoon

go 1.19
