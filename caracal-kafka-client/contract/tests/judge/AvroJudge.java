import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.TreeSet;

import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;

/**
 * Lets Avro's own Java class judge our compatibility check. One pair a line on standard input, reader and
 * writer in base 64, separated by a tab; one answer a line: the rules that are broken, separated by commas,
 * "compatible" for none, or "error" and why.
 */
public class AvroJudge {
    public static void main(String[] none) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] pair = line.split("\t", -1);
            System.out.println(judge(pair[0], pair[1]));
        }
    }

    private static String judge(String reader, String writer) {
        try {
            TreeSet<String> rules = new TreeSet<>();
            SchemaCompatibility.checkReaderWriterCompatibility(schema(reader), schema(writer)).getResult()
                    .getIncompatibilities().forEach(found -> rules.add(found.getType().name()));
            return rules.isEmpty() ? "compatible" : String.join(",", rules);
        } catch (Exception e) {
            return "error " + String.valueOf(e.getMessage()).replace('\n', ' ');
        }
    }

    private static Schema schema(String base64) {
        byte[] text = Base64.getDecoder().decode(base64);
        return new Schema.Parser().parse(new String(text, StandardCharsets.UTF_8));
    }
}
