// Written by make_vectors.py: requests signed with key AKIDEXAMPLE
// at 2015-08-30T12:36:00Z for us-east-1/service.
static const struct {
    const char *name;
    const char *request;
} vectors[] = {
    {"aws get-header-key-duplicate header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value2\n"
     "My-Header1:value2\n"
     "My-Header1:value1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;x-amz-date, "
     "Signature=c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea\n"
     "\n"},
    {"aws get-header-key-duplicate query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "3349ee0b81b4b589da0ff28a395c3591e04de515651dd74f298fa992d1507a97 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value2\n"
     "My-Header1:value2\n"
     "My-Header1:value1\n"
     "\n"},
    {"aws get-header-value-multiline header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value1\n"
     "  value2\n"
     "     value3\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;x-amz-date, "
     "Signature=cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd\n"
     "\n"},
    {"aws get-header-value-multiline query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "e6f5def831211aca02987a44b96826706278c7bc078112ae0263659c5b2f2d56 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value1\n"
     "  value2\n"
     "     value3\n"
     "\n"},
    {"aws get-header-value-order header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value4\n"
     "My-Header1:value1\n"
     "My-Header1:value3\n"
     "My-Header1:value2\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;x-amz-date, "
     "Signature=08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01\n"
     "\n"},
    {"aws get-header-value-order query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "313720e71ca6202fdcfa9b20f88de01a4eb0638a83c833b1c184359a4eda864e HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value4\n"
     "My-Header1:value1\n"
     "My-Header1:value3\n"
     "My-Header1:value2\n"
     "\n"},
    {"aws get-header-value-trim header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1: value1\n"
     "My-Header2: \"a   b   c\"\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;my-header2;x-amz-date, "
     "Signature=acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736\n"
     "\n"},
    {"aws get-header-value-trim query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1%"
     "3Bmy-header2&X-Amz-Expires=3600&X-Amz-Signature="
     "e7bb0fd515e125e1aec2ecc4c0c17484fb06f6846b927c35e46005dd3df3acd4 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1: value1\n"
     "My-Header2: \"a   b   c\"\n"
     "\n"},
    {"aws get-relative-normalized header",
     "GET /example/.. HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-relative-normalized query",
     "GET "
     "/example/"
     "..?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-relative-relative-normalized header",
     "GET /example1/example2/../.. HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-relative-relative-normalized query",
     "GET "
     "/example1/example2/../"
     "..?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-slash-dot-slash-normalized header",
     "GET /./ HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-slash-dot-slash-normalized query",
     "GET "
     "/./"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-slash-normalized header",
     "GET // HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-slash-normalized query",
     "GET "
     "//"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-slash-pointless-dot-normalized header",
     "GET /./example HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5\n"
     "\n"},
    {"aws get-slash-pointless-dot-normalized query",
     "GET "
     "/./"
     "example?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=35034b1a0bdd969f346975386daf8aedfd4976573b8348cf4f67eaa41c5857de "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-slashes-normalized header",
     "GET //example// HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84\n"
     "\n"},
    {"aws get-slashes-normalized query",
     "GET "
     "//example//"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=c1834e8fb0307243711f0f907f6ab7311ed300d87f13792d7ee4da89ab93e082 "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-space-normalized header",
     "GET /example space/ HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741\n"
     "\n"},
    {"aws get-space-normalized query",
     "GET /example "
     "space/"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=7a1f416954786484c9824d93c1f26ef64acb9b1b6c9154d08c9f07d0e394abf6 "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-unreserved header",
     "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f\n"
     "\n"},
    {"aws get-unreserved query",
     "GET "
     "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz?X-Amz-Algorithm=AWS4-"
     "HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-"
     "Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature="
     "95968482db1b9e0fadef6efc1bd24689f77c77d9ef56919c96a28cc92e0d6005 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-utf8 header",
     "GET /\341\210\264 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85\n"
     "\n"},
    {"aws get-utf8 query",
     "GET "
     "/\341\210\264?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-"
     "east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-"
     "Expires=3600&X-Amz-Signature="
     "10eae3f14a260bd3911cc6d008d3c576d143b05b62f09782a7a4b37f52178e44 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-vanilla query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-empty-query-key header",
     "GET /?Param1=value1 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb\n"
     "\n"},
    {"aws get-vanilla-empty-query-key query",
     "GET "
     "/?Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%"
     "2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "49096700cbbaa5753443850f40df10f904fc2fdb544dc9512203cc77c471a9de HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-query header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\n"
     "\n"},
    {"aws get-vanilla-query query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-query-order-encoded header",
     "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac\n"
     "\n"},
    {"aws get-vanilla-query-order-encoded query",
     "GET "
     "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-"
     "Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date="
     "20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature="
     "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-query-order-key-case header",
     "GET /?Param2=value2&Param1=value1 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500\n"
     "\n"},
    {"aws get-vanilla-query-order-key-case query",
     "GET "
     "/?Param2=value2&Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%"
     "2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-"
     "SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature="
     "86012e2c9ad4d77369f5d81c11f75158aae4f895a085212cc6d3f923d300bed5 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-query-unreserved header",
     "GET "
     "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~"
     "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197\n"
     "\n"},
    {"aws get-vanilla-query-unreserved query",
     "GET "
     "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~"
     "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz&X-Amz-Algorithm=AWS4-HMAC-"
     "SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-"
     "Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&X-Amz-Signature="
     "8e76a88a7433637b12778d5592799b29ad21ecd6cf6325051c21d86f0acda2bf HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-utf8-query header",
     "GET /?\341\210\264=bar HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04\n"
     "\n"},
    {"aws get-vanilla-utf8-query query",
     "GET "
     "/?\341\210\264=bar&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%"
     "2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "0bdd809b1519ac4f0c1dc3540e2cc46bd0c7f778eda408b2ebf3b913d21ff600 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws get-vanilla-with-session-token header",
     "GET / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Security-Token:6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date;x-amz-security-token, "
     "Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8\n"
     "\n"},
    {"aws get-vanilla-with-session-token query",
     "GET "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Security-Token=6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267&X-"
     "Amz-Signature=7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-header-key-case header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b\n"
     "\n"},
    {"aws post-header-key-case query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-header-key-sort header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;x-amz-date, "
     "Signature=c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c\n"
     "\n"},
    {"aws post-header-key-sort query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "c09d07e0d55871f10f2a6d350d994acf6825a3cae70673d7def55616e6119dd7 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:value1\n"
     "\n"},
    {"aws post-header-value-case header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:VALUE1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;my-header1;x-amz-date, "
     "Signature=cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d\n"
     "\n"},
    {"aws post-header-value-case query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host%3Bmy-header1&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "0698bc9e4f7f9139065ba2909c0e99da257e8e2a42492a097bcd46d792391fed HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "My-Header1:VALUE1\n"
     "\n"},
    {"aws post-sts-header-after header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Security-Token:AQoDYXdzEPT//////////"
     "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthA"
     "x7mSEI/qkPpKPi/"
     "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHN"
     "VXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
     "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b\n"
     "\n"},
    {"aws post-sts-header-before header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Security-Token:AQoDYXdzEPT//////////"
     "wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthA"
     "x7mSEI/qkPpKPi/"
     "kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHN"
     "VXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+"
     "scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date;x-amz-security-token, "
     "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead\n"
     "\n"},
    {"aws post-sts-header-before query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Security-Token=AQoDYXdzEPT%2F%2F%2F%2F%2F%2F%2F%2F%2F%"
     "2FwEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwt"
     "hAx7mSEI%2FqkPpKPi%"
     "2FkMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQc"
     "HNVXAkiY9q6d%2Bxo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz%"
     "2BscqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR%2FoLxBA%3D%3D&X-Amz-Signature="
     "46c2e3c63c1dbe7d39f8ada16fe7f001c1f56c5791441565323677f96308871c HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-vanilla header",
     "POST / HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b\n"
     "\n"},
    {"aws post-vanilla query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires="
     "3600&X-Amz-Signature=2ce6e6d2e0cf2f9d1b55fafec88cd20574c31dc2e7631979f71ba2310083e95b "
     "HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-vanilla-empty-query-value header",
     "POST /?Param1=value1 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11\n"
     "\n"},
    {"aws post-vanilla-empty-query-value query",
     "POST "
     "/?Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%"
     "2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-vanilla-query header",
     "POST /?Param1=value1 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11\n"
     "\n"},
    {"aws post-vanilla-query query",
     "POST "
     "/?Param1=value1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%"
     "2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-"
     "Amz-Expires=3600&X-Amz-Signature="
     "a9ef26247f293bffe40eeff86a0480ba8c14d31503b2e0c3399e3a16bf1a3682 HTTP/1.1\n"
     "Host:example.amazonaws.com\n"
     "\n"},
    {"aws post-x-www-form-urlencoded header",
     "POST / HTTP/1.1\n"
     "Content-Type:application/x-www-form-urlencoded\n"
     "Host:example.amazonaws.com\n"
     "Content-Length:13\n"
     "X-Amz-Date:20150830T123600Z\n"
     "x-amz-content-sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, "
     "Signature=d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b\n"
     "\n"
     "Param1=value1"},
    {"aws post-x-www-form-urlencoded query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=content-length%"
     "3Bcontent-type%3Bhost&X-Amz-Expires=3600&X-Amz-Signature="
     "89a40deed0f26f9461242825a082d2222717248abc7ab41f552ad84a94ad46e9 HTTP/1.1\n"
     "Content-Type:application/x-www-form-urlencoded\n"
     "Host:example.amazonaws.com\n"
     "Content-Length:13\n"
     "\n"
     "Param1=value1"},
    {"aws post-x-www-form-urlencoded-parameters header",
     "POST / HTTP/1.1\n"
     "Content-Type:application/x-www-form-urlencoded; charset=utf-8\n"
     "Host:example.amazonaws.com\n"
     "Content-Length:13\n"
     "X-Amz-Date:20150830T123600Z\n"
     "x-amz-content-sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=content-length;content-type;host;x-amz-content-sha256;x-amz-date, "
     "Signature=328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422\n"
     "\n"
     "Param1=value1"},
    {"aws post-x-www-form-urlencoded-parameters query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=content-length%"
     "3Bcontent-type%3Bhost&X-Amz-Expires=3600&X-Amz-Signature="
     "0dbeb9b026c7b6675f266b8427efec9b4fa8b1f6ef1477d717aea231106eab4d HTTP/1.1\n"
     "Content-Type:application/x-www-form-urlencoded; charset=utf-8\n"
     "Host:example.amazonaws.com\n"
     "Content-Length:13\n"
     "\n"
     "Param1=value1"},
    {"botocore plain header",
     "POST / HTTP/1.1\n"
     "Content-Type:application/x-amz-json-1.1\n"
     "X-Amz-Target:AmazonEC2ContainerServiceV20141113.DescribeTasks\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
     "Signature=dfc66087771dc92e8e08b43bceb42abc73a01e1727084e1ca7e902ff6f885ccb\n"
     "Host:127.0.0.1:4566\n"
     "\n"
     "{\"tasks\":[\"0123456789abcdef0123456789abcdef\"],\"x\":\"\341\210\264\"}"},
    {"botocore plain query",
     "POST "
     "/?tasks=0123456789abcdef0123456789abcdef&x=%E1%88%B4&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-"
     "Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date="
     "20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-target&X-"
     "Amz-Signature=aaddcefe1061e2f2e55d5da4a13f06998f807d7a29992b24f4c8f9958da12726 HTTP/1.1\n"
     "Content-Type:application/x-amz-json-1.1\n"
     "X-Amz-Target:AmazonEC2ContainerServiceV20141113.DescribeTasks\n"
     "Host:127.0.0.1:4566\n"
     "\n"},
    {"botocore token header",
     "POST / HTTP/1.1\n"
     "Content-Type:application/x-amz-json-1.1\n"
     "X-Amz-Target:AmazonEC2ContainerServiceV20141113.DescribeTasks\n"
     "X-Amz-Date:20150830T123600Z\n"
     "X-Amz-Security-Token:tok/en+with=signs==\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, "
     "Signature=85d8703d2e9bdd9451c21f59e98e8848c99b1e63bf7e173bf5b18d0de8727d9e\n"
     "Host:127.0.0.1:4566\n"
     "\n"
     "{\"tasks\":[\"0123456789abcdef0123456789abcdef\"],\"x\":\"\341\210\264\"}"},
    {"botocore token query",
     "POST "
     "/?tasks=0123456789abcdef0123456789abcdef&x=%E1%88%B4&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-"
     "Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date="
     "20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=content-type%3Bhost%3Bx-amz-target&X-"
     "Amz-Security-Token=tok%2Fen%2Bwith%3Dsigns%3D%3D&X-Amz-Signature="
     "8f9ea6decd0ea5d266ab58227b7cc3952cdbeb6cc0092e58ad62fbb568ec92c1 HTTP/1.1\n"
     "Content-Type:application/x-amz-json-1.1\n"
     "X-Amz-Target:AmazonEC2ContainerServiceV20141113.DescribeTasks\n"
     "Host:127.0.0.1:4566\n"
     "\n"},
    {"botocore unsigned payload header",
     "POST / HTTP/1.1\n"
     "Content-Type:application/x-amz-json-1.1\n"
     "X-Amz-Target:AmazonEC2ContainerServiceV20141113.DescribeTasks\n"
     "X-Amz-Date:20150830T123600Z\n"
     "X-Amz-Content-SHA256:UNSIGNED-PAYLOAD\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target, "
     "Signature=be6e342c1f5feabe1cf13e84bd1edcfd199f585d587aa934db2d28e4fc4b0856\n"
     "Host:127.0.0.1:4566\n"
     "\n"
     "{\"tasks\":[\"0123456789abcdef0123456789abcdef\"],\"x\":\"\341\210\264\"}"},
    {"botocore odd path header",
     "GET /a%20b//c/./d/../e%2Ff/~x/ HTTP/1.1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=99743f4f69c2fb7bc18131c69f5493ca6a341e98f5a18c13b8287f9f89baa6c9\n"
     "Host:h\n"
     "\n"},
    {"botocore odd path query",
     "GET "
     "/a%20b//c/./d/../e%2Ff/~x/"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders="
     "host&X-Amz-Signature=1b943a1c877a4cb9ddbadcd76908ae0058dfdcca62b810d80a7fa51fc8823e2c "
     "HTTP/1.1\n"
     "Host:h\n"
     "\n"},
    {"botocore dots above the root header",
     "GET /../../a/. HTTP/1.1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=97daab3928875290b0d05d7414a7a7807833b79ebad5cd7d431497fd7bfc79ee\n"
     "Host:h\n"
     "\n"},
    {"botocore dots above the root query",
     "GET "
     "/../../a/"
     ".?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders="
     "host&X-Amz-Signature=4f22dc829c674c59223bdae60c8c7541ea2bc25acc6f39ce82a0403a357b1923 "
     "HTTP/1.1\n"
     "Host:h\n"
     "\n"},
    {"botocore odd query header",
     "GET /?b=2&a=%2f&a=%2F&c&d=&e==x&=y&%7Ef=~&g=a+b&h=%zz HTTP/1.1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=5d88152f0bfa65c1a950357ba2125a1490c3dd9fb0cb85da9db0581f652d27f2\n"
     "Host:h\n"
     "\n"},
    {"botocore odd query query",
     "GET "
     "/?b=2&a=%2F&c=&d=&e=%3Dx&=y&~f=~&g=a%20b&h=%25zz&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-"
     "Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2Faws4_request&X-Amz-Date="
     "20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature="
     "fb4f420d72b7d98d06fe54655d1b60d91109bb9d808c154dda33f71f4cd7c3e9 HTTP/1.1\n"
     "Host:h\n"
     "\n"},
    {"botocore query twice header",
     "GET /p?x=2&x=10&x=1&X=3&& HTTP/1.1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=07c597a5b0d4058c0675daf8a9ae9b92858aebaf69888ad7aaaa053143dbbfa3\n"
     "Host:h\n"
     "\n"},
    {"botocore query twice query",
     "GET "
     "/p?x=2&X=3&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-"
     "east-1%2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-"
     "SignedHeaders=host&X-Amz-Signature="
     "c79fcfdd43610ce987e48d90f27d9abeb35052464eaf054070e0cae44a3d166e HTTP/1.1\n"
     "Host:h\n"
     "\n"},
    {"botocore blanks in values header",
     "POST / HTTP/1.1\n"
     "X-Odd:  a   b \011 c \n"
     "X-Empty:\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date;x-empty;x-odd, "
     "Signature=a23732ee19f4e0c1ddd608eb30f88c85dd19e0bab4ee43941d69730e4ca95cb9\n"
     "Host:h\n"
     "\n"
     "{}"},
    {"botocore blanks in values query",
     "POST "
     "/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%"
     "2Fservice%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders="
     "host%3Bx-empty%3Bx-odd&X-Amz-Signature="
     "90224999e84e57de501cbf391a22aebe5c065185d36409b72a8b617fe109e020 HTTP/1.1\n"
     "X-Odd:  a   b \011 c \n"
     "X-Empty:\n"
     "Host:h\n"
     "\n"},
    {"botocore http date header",
     "POST / HTTP/1.1\n"
     "Date:Sun, 30 Aug 2015 12:36:00 -0000\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=date;host, "
     "Signature=74e79c2784fccd010fc923d01075170feafbe8a048a30da847a927c90d7191a5\n"
     "Host:h\n"
     "\n"
     "{}"},
    {"botocore websocket header",
     "GET "
     "/acs/"
     "ws?agentHash=1&agentVersion=1.0&clusterArn=default&containerInstanceArn=arn%3Aaws%3Aecs%3Aus-"
     "east-1%3A000000000000%3Acontainer-instance%2Fdefault%2F0123&protocolVersion=2&seqNum=1 "
     "HTTP/1.1\n"
     "X-Amz-Date:20150830T123600Z\n"
     "Authorization:AWS4-HMAC-SHA256 "
     "Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
     "SignedHeaders=host;x-amz-date, "
     "Signature=d426c54d77e9e99c9af7235c095534460203f53521541e6b38c14404e0f38ca8\n"
     "Host:10.0.0.1:4567\n"
     "\n"},
    {"botocore websocket query",
     "GET "
     "/acs/"
     "ws?agentHash=1&agentVersion=1.0&clusterArn=default&containerInstanceArn=arn%3Aaws%3Aecs%3Aus-"
     "east-1%3A000000000000%3Acontainer-instance%2Fdefault%2F0123&protocolVersion=2&seqNum=1&X-Amz-"
     "Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%"
     "2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-"
     "Signature=09a5b02972b77e59e186ff12a386769a18ef4de3214eada6dbfa2dfe3af313ed HTTP/1.1\n"
     "Host:10.0.0.1:4567\n"
     "\n"},
};
