// The pages of the desk work without this script. With it, a page follows what changes: at
// each event of its stream it fetches itself again and replaces the elements with data-live,
// by id. It warns before an idle session ends.
'use strict';
