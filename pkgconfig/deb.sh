#!/bin/sh
# Debian packages of a source tarball: deb.sh <tarball> <version> <directory>. They come into that
# directory, which is made anew. Maintainer is who DEBFULLNAME and DEBEMAIL say; the date is that of
# the sources, so that the same sources give the same packages. Arguments of dpkg-buildpackage come
# from DEB_FLAGS.
set -eu
tarball=$1 version=$2 out=$3
maintainer="${DEBFULLNAME:-The libballoon authors} <${DEBEMAIL:-libballoon@example.com}>"
for tool in dpkg-buildpackage dh; do
    command -v $tool >/dev/null || { echo "deb: no $tool (packages dpkg-dev and debhelper)" >&2; exit 1; }
done
rm -rf "$out"
mkdir -p "$out"
cp "$tarball" "$out/libballoon_$version.orig.tar.gz"
tar -xzf "$tarball" -C "$out"
cd "$out/libballoon-$version"
cp -r pkgconfig/debian .
date=$(date -R -u -d "@$(stat -c %Y Makefile)")
# In a name & and / are letters.
sed -i -e "s/@maintainer@/$(printf %s "$maintainer" | sed 's,[\\/&],\\&,g')/" -e "s/@date@/$date/" -e "s/@version@/$version/" \
    debian/control debian/changelog
# Each function since the release that the map of exports has it in.
{
    echo "libballoon.so.${version%%.*} libballoon${version%%.*} #MINVER#"
    echo "* Build-Depends-Package: libballoon-dev"
    awk '/^BALLOON_/ { node = $1; since = substr(node, 9) ".0"; print " " node "@" node, since }
        /^ *balloon_/ { sub(/;/, ""); print " " $1 "@" node, since }' lib/libballoon.map
} >debian/libballoon${version%%.*}.symbols
dpkg-buildpackage -us -uc ${DEB_FLAGS-}
